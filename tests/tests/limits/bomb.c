/* Ways of using up more than there is. The first argument says which. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t piece = 1 << 20;

/* Fills memory without end, or, if there is a limit, up to it. */
static void fill(int flags, size_t most)
{
    for (size_t done = 0; done < most; done += piece) {
        char *at = mmap(NULL, piece, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
        if (at != MAP_FAILED)
            memset(at, 1, piece);
    }
}

static void burn(void)
{
    for (volatile unsigned long i = 0;; i++)
        ;
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "";
    signal(SIGTERM, SIG_IGN);
    if (!strcmp(kind, "fork")) {
        for (;;)
            fork();
    } else if (!strcmp(kind, "away")) {
        /* The same by processes that leave their session, group and parent. */
        for (;;)
            if (fork() == 0)
                setsid();
    } else if (!strcmp(kind, "gone")) {
        /* Too many, and it ends before anybody can have counted them. */
        for (int i = 0; i < 60; i++)
            if (fork() == 0)
                for (;;)
                    pause();
        return 2;
    } else if (!strcmp(kind, "memory")) {
        fill(MAP_PRIVATE, (size_t)-1);
    } else if (!strcmp(kind, "shared")) {
        fill(MAP_SHARED, (size_t)-1);
    } else if (!strcmp(kind, "many")) {
        /* Each of them has little. */
        for (int i = 0; i < 12; i++)
            if (fork() == 0) {
                fill(MAP_PRIVATE, 8 * piece);
                pause();
            }
        pause();
    } else if (!strcmp(kind, "cow")) {
        /* Much, which all of them share. */
        fill(MAP_PRIVATE, 24 * piece);
        for (int i = 0; i < 6; i++)
            if (fork() == 0) {
                usleep(300000);
                _exit(0);
            }
        while (wait(NULL) > 0)
            ;
        return 0;
    } else if (!strcmp(kind, "disk")) {
        static char zeroes[65536];
        int file = open("/tmp/file", O_WRONLY | O_CREAT, 0600);
        for (;;)
            if (write(file, zeroes, sizeof zeroes) < 0)
                usleep(1000);
    } else if (!strcmp(kind, "output")) {
        static char line[4096];
        memset(line, 'x', sizeof line);
        for (;;)
            if (write(1, line, sizeof line) < 0)
                pause();
    } else if (!strcmp(kind, "lines")) {
        /* A number of lines, each by a call of its own, on both streams in turn; or on one after
           the other, if there is one more argument. */
        int most = atoi(argv[2]), apart = argc > 3;
        for (int i = 0; i < 2 * most; i++) {
            int stream = apart ? 2 - i / most : 1 + i % 2;
            if (dprintf(stream, "%d of %d\n", apart ? i % most : i / 2, stream) < 0)
                return 1;
        }
        return 0;
    } else if (!strcmp(kind, "cpu")) {
        burn();
    } else if (!strcmp(kind, "burners")) {
        /* None of them for long, and nobody waits for them. */
        signal(SIGCHLD, SIG_IGN);
        for (;;) {
            if (fork() == 0) {
                alarm(1);
                burn();
            }
            usleep(200000);
        }
    } else if (!strcmp(kind, "sleep")) {
        for (;;)
            pause();
    }
    return 2;
}
