/* What the parts of this program have in common; main.c says what it is for. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define WRONG 255
/* What must succeed, and what must be so. */
#define DO(call) do { errno = 0; if ((call) < 0) return errno ? errno : WRONG; } while (0)
#define BE(condition) do { if (!(condition)) return WRONG; } while (0)

#define TRY(step) do { int error_ = (step); if (error_) return error_; } while (0)

extern char **environment;

/* Writes a file of this name. */
int file(const char *name, const char *text);
/* What comes next from the descriptor has to be this. */
int reads(int fd, const char *text);
/* The file of this name, opened anew, has to begin so. */
int holds(const char *name, const char *text);
/* A child has to end with success. */
int ended_well(pid_t pid);
