/* filter COMMAND [ARG...]: runs it under a system call filter like that of a container engine.
 * filter --no-mount-setattr COMMAND [ARG...], filter --no-close-range COMMAND [ARG...]: under one
 * that has it believe that the kernel is older than that call.
 * filter --no-vfork COMMAND [ARG...]: clone with CLONE_VM and CLONE_VFORK answers EINVAL, as it
 * does in older kernels where the child is to live in another time namespace. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAMESPACES 0x7e020000
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(number, error) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), \
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error)

int main(int argc, char **argv)
{
    struct sock_filter code[] = {
        LOAD(nr),
        ANSWER(SYS_unshare, EPERM),
        ANSWER(SYS_mount, EPERM),
        ANSWER(435 /* clone3 */, ENOSYS),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
        LOAD(args[0]),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_filter old[] = {
        LOAD(nr),
        ANSWER(0, ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_filter no_vfork[] = {
        LOAD(nr),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
        LOAD(args[0]),
        ANSWER(0x4111 /* CLONE_VM | CLONE_VFORK | SIGCHLD */, EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof code / sizeof *code, code };
    if (argc > 1 && strcmp(argv[1], "--no-mount-setattr") == 0)
        old[1].k = 442;
    if (argc > 1 && strcmp(argv[1], "--no-close-range") == 0)
        old[1].k = 436;
    if (argc > 1 && strcmp(argv[1], "--no-vfork") == 0) {
        program.len = sizeof no_vfork / sizeof *no_vfork;
        program.filter = no_vfork;
        argv++;
        argc--;
    }
    if (old[1].k != 0) {
        program.len = sizeof old / sizeof *old;
        program.filter = old;
        argv++;
        argc--;
    }
    if (argc < 2)
        return 2;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
        || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        perror("filter");
        return 2;
    }
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    return 2;
}
