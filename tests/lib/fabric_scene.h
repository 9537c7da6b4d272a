/* fabric_scene.h -- a made-up channel, its trust and a walk that stands behind its tip. Include
 * after cmocka.h. */
#ifndef ZR_TESTS_LIB_FABRIC_SCENE_H
#define ZR_TESTS_LIB_FABRIC_SCENE_H

#include "adapters/sidechain/fabric/fabric.h"
#include "tests/lib/expect.h"
#include "tests/lib/fabric_gen.h"

struct scene {
	struct gen_channel *channel;
	struct trust *trust;
	struct walk walk;
	struct buffer raw;
};

/* Pins the next config block of a channel that the scene takes over. */
static inline void scene_start(struct scene *scene, struct gen_channel *take_channel)
{
	struct walk_position position = { .next_height = take_channel->height };
	struct err err;
	*scene = (struct scene){ .channel = take_channel, .raw = BUFFER_EMPTY };
	gen_next_config(scene->channel, &scene->raw);
	if (!fabric_format()->trust_pin(buffer_bytes(&scene->raw), &scene->trust, &err))
		fail_msg("%s", err.message);
	walk_init(&scene->walk, fabric_format(), scene->trust,
	          &fabric_format()->trust_origin(scene->trust)->hash, position);
	EXPECT_WALK(&scene->walk, buffer_bytes(&scene->raw), WALK_FINE, "");
}

static inline void scene_init(struct scene *scene, const struct gen_options *options)
{
	scene_start(scene, gen_channel_new(options));
}

static inline void scene_fini(struct scene *scene)
{
	walk_fini(&scene->walk);
	fabric_format()->trust_free(scene->trust);
	gen_channel_free(scene->channel);
	buffer_fini(&scene->raw);
}

#define EXPECT_DRAFT(scene, draft, fault, text)                                            \
	do {                                                                               \
		gen_seal((scene)->channel, (draft), &(scene)->raw);                        \
		EXPECT_WALK(&(scene)->walk, buffer_bytes(&(scene)->raw), (fault), (text)); \
	} while (0)

/* An honest next block is fine: what was refused before was refused for its own sake. */
static inline void expect_honest_next(struct scene *scene)
{
	gen_next(scene->channel, 3, 500, &scene->raw);
	EXPECT_WALK(&scene->walk, buffer_bytes(&scene->raw), WALK_FINE, "");
}

/* The same for a config block of the channel as it is now. */
static inline void expect_honest_config(struct scene *scene)
{
	gen_next_config(scene->channel, &scene->raw);
	EXPECT_WALK(&scene->walk, buffer_bytes(&scene->raw), WALK_FINE, "");
}

#endif
