set -e
cat >fib.c <<'C'
#include <stdio.h>
__attribute__((noinline)) int fib(int n) {
	volatile int m = n;
	return m < 2 ? m : fib(m - 1) + fib(m - 2);
}
int main(void) {
	printf("fib %d\n", fib(7));
	return 3;
}
C
gcc -g -O0 fib.c -o fib
gdb -q -batch -nx -ex 'break fib if n == 2' -ex run -ex 'bt 2' -ex 'print n * 21' -ex 'watch m' \
	-ex 'continue' -ex 'set var n = 2' -ex 'delete' -ex 'continue' ./fib 2>&1
# One that is running already.
sleep 30 &
gdb -q -batch -nx -p $! -ex 'info inferiors' 2>&1 | grep -c 'process'
strace -f -o trace sh -c './fib; exit 0'
echo "traced $(grep -c 'write(1, "fib' trace)"
strace -c -o counts -p $! &
tracer=$!
sleep 0.3
kill %1
wait $tracer || true
echo "attached $(grep -c total counts)"

# Sanitizers: one stops and reads the threads of its own process, the other moves its memory.
cat >faults.c <<'C'
#include <pthread.h>
#include <stdlib.h>
static int shared;
static void *add(void *at) {
	shared++;
	return at;
}
int main(void) {
	pthread_t thread;
	void *volatile lost = malloc(10);
	lost = 0;
	pthread_create(&thread, 0, add, 0);
	shared++;
	pthread_join(thread, 0);
}
C
for sanitizer in address thread; do
	gcc -g -fsanitize=$sanitizer -pthread faults.c -o faults
	./faults 2>&1 | grep -o '^SUMMARY: [A-Za-z]*: .*in ' | sed 's/(s) leaked.*//; s/ [^ ]* in $//'
done
