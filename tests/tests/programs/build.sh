# A program with threads, and a make with sub-makes that share job slots and wait for a lock.
set -e
cat >pool.c <<'C'
#include <math.h>
#include <pthread.h>
#include <stdio.h>
static double sums[8];
static void *sum(void *at) {
	double *to = at;
	for (int i = 1; i <= 1000; i++) *to += sqrt(i);
	return 0;
}
int main(void) {
	pthread_t threads[8];
	for (int i = 0; i < 8; i++) pthread_create(&threads[i], 0, sum, &sums[i]);
	double all = 0;
	for (int i = 0; i < 8; i++) { pthread_join(threads[i], 0); all += sums[i]; }
	printf("pool %.3f\n", all);
}
C
gcc -O2 -pipe -flto -pthread pool.c -o pool -lm
./pool

cat >Makefile <<'M'
PARTS := $(shell seq 1 16)
all: $(PARTS:%=part%) sub
	@cat $(PARTS:%=part%) >whole
	@wc -l <whole
part%: ; @flock lock sh -c 'read n <count; echo $$((n + 1)) >count'; echo $* >$@
.PHONY: sub
sub: ; @+$(MAKE) --no-print-directory -f Makefile.sub
M
cat >Makefile.sub <<'M'
all: a b c
	@echo 'slots $(findstring --jobserver,$(MAKEFLAGS))'
a b c: ; @sleep 0.1; echo $@ >sub-$@
M
echo 0 >count
make -j8
echo "count $(cat count)"
