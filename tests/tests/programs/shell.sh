# Job control, terminals, processes and archives, as scripts use them.
set -m
sleep 60 &
kill -STOP %1
while [ "$(ps -o stat= $! 2>/dev/null || sed 's/.*) \(.\).*/\1/' /proc/$!/stat)" != T ]; do sleep 0.01; done
jobs | grep -c Stopped
kill -CONT %1
kill %1
# By its number, which is known also when it has been told of already.
wait $!
echo "ended $?"
(sleep 0.1; exit 7) &
fg >/dev/null
echo "foreground $?"
set +m

# A terminal of its own, and /dev/tty is it.
script -qec 'stty rows 12 cols 34; stty size </dev/tty; test -t 1 && tty' /dev/null | tr -d '\r'

diff <(seq 3) <(seq 3) && echo substituted
coproc tr a-z A-Z
echo coprocess >&"${COPROC[1]}"
exec {COPROC[1]}>&-
cat <&"${COPROC[0]}"
{ echo here >/dev/stderr; } 2>&1
trap 'echo trapped' USR1
kill -USR1 $$
(ulimit -n 16; ulimit -n)
nice -n 1 sh -c 'echo nice'
timeout 0.1 sleep 5
echo "timeout $?"
perl -e 'pipe(R, W); if (!fork) { print W "from a child"; exit } close W; print <R>, "\n"; wait;
	alarm 1; $SIG{ALRM} = sub { print "alarm\n"; exit }; select undef, undef, undef, 5'

mkdir -p tree/sub
echo x >tree/file
ln tree/file tree/hard
ln -s file tree/soft
mkfifo tree/fifo
chmod 4750 tree/file
tar cf tree.tar --sparse tree
rm -r tree
tar xpf tree.tar
stat -c '%A %h' tree/file
cp -a --reflink=auto tree copy
find copy -type p -o -type l | sort | tr '\n' ' '
install -D -m 2711 copy/file deep/er/file
stat -c %a deep/er/file
seq 100000 | sort -R | sort -n -S 1M --parallel=4 | tail -1
dd if=/dev/zero of=direct bs=4096 count=4 oflag=direct status=none && wc -c <direct
truncate -s 1G holes && fallocate -p -l 4096 holes && stat -c %s holes
