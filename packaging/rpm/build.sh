#!/usr/bin/env bash
# build.sh -- source and binary packages of the committed tree, into build-rpm/.
#
# Works with rpmbuild of the RPM family and of Debian (whose package database knows none of the
# libraries: --nodeps; ./dev setup has installed them).
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v rpmbuild >/dev/null || { echo "build.sh: rpmbuild is missing (Debian: rpm, RPM family: rpm-build)" >&2; exit 1; }
version=$(sed -n "s/^project('zonerelay', 'c', version: '\([^']*\)'.*/\1/p" meson.build)
top=$PWD/build-rpm
rm -rf "$top"
mkdir -p "$top/SOURCES" "$top/BUILD" "$top/RPMS" "$top/SRPMS"
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
git archive --prefix="zonerelay-$version/" --format=tar HEAD | gzip -n >"$top/SOURCES/zonerelay-$version.tar.gz"

nodeps=()
[ -f /etc/debian_version ] && nodeps=(--nodeps)
rpmbuild -ba "${nodeps[@]}" packaging/rpm/zonerelay.spec \
	--define "_topdir $top" --define "zr_version $version" \
	--define "zr_unitdir /usr/lib/systemd/system" --define "zr_sysusersdir /usr/lib/sysusers.d" \
	--define "_sharedstatedir /var/lib" --define "_sysconfdir /etc" --define "debug_package %{nil}" \
	--define "clamp_mtime_to_source_date_epoch 1" --define "use_source_date_epoch_as_buildtime 1" \
	--define "_buildhost localhost" >"$top/rpmbuild.log" 2>&1 || { tail -40 "$top/rpmbuild.log" >&2; exit 1; }
find "$top" -name '*.rpm' | sort
