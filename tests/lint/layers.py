#!/usr/bin/env python3
"""layers.py -- which folder may include which, and which file owns which library.

A folder includes only itself and the folders its row names. Each third-party library is included
only by its owners. Both tables are the rule; ARCHITECTURE.md explains it.
"""
import fnmatch
import pathlib
import re
import sys

# folder: folders it may include besides itself. The longest matching folder decides.
LAYERS = {
    "relay/base": [],
    "proto": ["relay/base"],
    "config": ["relay/base", "proto"],
    "spool": ["relay/base", "proto", "config"],
    "relay/net": ["relay/base", "proto", "config"],
    "adapters": ["relay/base", "proto", "config", "spool", "relay/net"],
    "relay/edge": ["relay/base", "proto", "config", "spool", "relay/net", "adapters"],
    "relay": ["relay/base", "proto", "config", "spool", "relay/net", "adapters"],
    "relay/cli": ["relay/base", "proto", "config", "spool", "relay/net", "adapters", "relay"],
    "tests": ["relay/base", "proto", "config", "spool", "relay/net", "adapters", "relay", "relay/edge", "relay/cli"],
}

# header pattern: files that may include it.
OWNERS = {
    "openssl/ssl.h": ["relay/net/*"],
    "openssl/*": ["relay/base/crypto*", "relay/net/*"],
    "lmdb.h": ["spool/*"],
    "yaml.h": ["config/*"],
    "zstd*.h": ["proto/*"],
    "zdict.h": ["proto/*"],
    "curl/*": ["adapters/mainchain/*"],
    "nng/*": ["relay/control*"],
    "jansson.h": ["adapters/mainchain/*", "relay/*"],
    "protobuf-c/*": ["proto/*", "adapters/*", "relay/*"],
    "systemd/*": ["relay/base/notify*"],
    "event2/*": ["relay/*", "relay/net/*", "adapters/mainchain/*"],
}
# The agent stays small, whatever relay/* may use.
AGENT_REFUSES = ["curl/*", "nng/*", "jansson.h"]

INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.M)


def folder_of(path):
    matches = [folder for folder in LAYERS if path == folder or path.startswith(folder + "/")]
    return max(matches, key=len) if matches else None


def check(path, text):
    here = folder_of(path)
    for ours, theirs in INCLUDE.findall(text):
        if ours:
            there = folder_of(ours)
            if there is None:
                yield f'includes "{ours}": write it from the top of the tree'
            elif there != here and there not in LAYERS[here]:
                yield f'{here} may not include {there} ("{ours}")'
        if here == "tests" or not theirs:
            continue
        for pattern, owners in OWNERS.items():
            if fnmatch.fnmatch(theirs, pattern):
                if not any(fnmatch.fnmatch(path, owner) for owner in owners):
                    yield f"<{theirs}> belongs to {', '.join(owners)}"
                break
        if here == "relay/edge" and any(fnmatch.fnmatch(theirs, p) for p in AGENT_REFUSES):
            yield f"<{theirs}> has no place in the agent"


def sources(root):
    for top in ("relay", "proto", "config", "spool", "adapters", "tests"):
        for path in sorted((root / top).rglob("*.[ch]")):
            yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    count = failures = 0
    for path, text in sources(root):
        count += 1
        for problem in check(path, text):
            failures += 1
            print(f"{path}: {problem}")
    print(f"layers: {count} files, {failures} problems")
    return 1 if failures or not count else 0


if __name__ == "__main__":
    sys.exit(main())
