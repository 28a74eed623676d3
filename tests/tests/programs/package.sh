# Makes two packages, one of which needs the other, in a repository of files, and installs them.
# Runs as uid 0 in a Debian root that it may change.
set -e
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
repo=/srv/repo
mkdir -p $repo

tree=/tmp/tool
mkdir -p $tree/DEBIAN $tree/usr/bin $tree/usr/lib/tool $tree/etc/tool $tree/var/lib/tool
cat >$tree/DEBIAN/control <<'C'
Package: tool
Version: 1.0
Architecture: all
Depends: tool-data (>= 2)
Maintainer: nobody <nobody@example.invalid>
Description: owners, modes and maintainer scripts
C
echo /etc/tool/conf >$tree/DEBIAN/conffiles
cat >$tree/DEBIAN/preinst <<'S'
#!/bin/sh
set -e
adduser --quiet --system --group --home /var/lib/tool --no-create-home tooluser
S
cat >$tree/DEBIAN/postinst <<'S'
#!/bin/sh
set -e
chown tooluser:tooluser /var/lib/tool
chmod 2775 /var/lib/tool
install -o tooluser -g adm -m 640 /dev/null /var/lib/tool/log
mkfifo -m 600 /var/lib/tool/fifo
# Every way to be somebody else that maintainer scripts know.
su -s /bin/sh tooluser -c 'id -un; umask 027; echo x >/var/lib/tool/by-su'
runuser -u tooluser -- id -un
setpriv --reuid tooluser --regid tooluser --init-groups id -un
start-stop-daemon --start --quiet --chuid tooluser --exec /usr/bin/id -- -un
update-alternatives --quiet --install /usr/bin/t t /usr/bin/tool 10
ldconfig
S
cat >$tree/DEBIAN/prerm <<'S'
#!/bin/sh
update-alternatives --quiet --remove t /usr/bin/tool
S
cat >$tree/DEBIAN/postrm <<'S'
#!/bin/sh
set -e
[ "$1" != purge ] || rm -r /var/lib/tool
S
chmod 755 $tree/DEBIAN/p*
printf '#!/bin/sh\necho "tool $(cat /usr/share/tool-data)"\n' >$tree/usr/bin/tool
echo conf >$tree/etc/tool/conf
: >$tree/usr/lib/tool/set-user-id
: >$tree/usr/lib/tool/set-group-id
: >$tree/usr/lib/tool/of-mail
chmod 755 $tree/usr/bin/tool
chown mail:news $tree/usr/lib/tool/of-mail
chown root:shadow $tree/usr/lib/tool/set-group-id
chmod 4755 $tree/usr/lib/tool/set-user-id
chmod 2711 $tree/usr/lib/tool/set-group-id

data=/tmp/tool-data
mkdir -p $data/DEBIAN $data/usr/share
cat >$data/DEBIAN/control <<'C'
Package: tool-data
Version: 2.0
Architecture: all
Maintainer: nobody <nobody@example.invalid>
Description: what the other needs
C
echo data >$data/usr/share/tool-data

for package in $tree $data; do
	dpkg-deb --build $package $repo >/dev/null
done
for deb in $repo/*.deb; do
	dpkg-deb --field "$deb"
	echo "Filename: ./${deb##*/}"
	echo "Size: $(stat -c %s "$deb")"
	echo "SHA256: $(sha256sum "$deb" | cut -d ' ' -f 1)"
	echo
done >$repo/Packages

rm -rf /etc/apt/sources.list.d
echo "deb [trusted=yes] file:$repo ./" >/etc/apt/sources.list
apt-get -qq update
apt-get --yes install tool
dpkg-query -W -f '${Package} ${db:Status-Status}\n' tool tool-data
tool
t
dpkg --verify tool
dpkg --audit
echo "log $(grep -c '^Setting up tool' /var/log/apt/term.log)"
