/* calls: makes system calls that a filter may close, and prints for each its name and the errno,
 * 0 if it worked. The arguments are such that a call that is let through does no harm, whoever
 * makes it: they are invalid wherever the call would change anything. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEWUSER 0x10000000L
#define BAD ((long)1)

static void tell(const char *name, long result)
{
    printf("%s %d\n", name, result < 0 ? errno : 0);
}

/* In a child, because what works would change this process. */
static void tell_in_child(const char *name, long number, long a, long b)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        long result = syscall(number, a, b, 0, 0, 0);
        _exit(result < 0 ? errno : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("%s %d\n", name, WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

/* clone and fork return in two processes. */
static void tell_clone(const char *name, long flags)
{
    fflush(stdout);
    long child = syscall(SYS_clone, flags, 0, 0, 0, 0);
    if (child == 0)
        _exit(0);
    int error = child < 0 ? errno : 0;
    if (child > 0)
        waitpid(child, NULL, 0);
    printf("%s %d\n", name, error);
}

#if defined(__x86_64__)
/* The i386 ABI, which every process has at hand. Pointers would have to be below 4 GiB. */
static void tell_i386(const char *name, long number, long a, long b, long c)
{
    int result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"((int)number), "b"((int)a), "c"((int)b), "d"((int)c), "S"(0), "D"(0)
                     : "memory", "r8", "r9", "r10", "r11");
    printf("%s %d\n", name, result < 0 && result >= -4095 ? -result : 0);
}
#endif

int main(void)
{
    uint64_t none[11] = {0};

    tell("io_uring_setup", syscall(425, 0, 0));
    tell("io_uring_enter", syscall(426, -1, 0, 0, 0, 0, 0));
    tell("io_uring_register", syscall(427, -1, 0, 0, 0));
    tell("userfaultfd", syscall(SYS_userfaultfd, 0xff0000));
    tell("bpf", syscall(SYS_bpf, 9999, 0, 0));
    tell("perf_event_open", syscall(SYS_perf_event_open, BAD, 0, -1, -1, 0));
    tell("add_key", syscall(SYS_add_key, BAD, BAD, 0, 0, 0));
    tell("request_key", syscall(SYS_request_key, BAD, BAD, 0, 0));
    tell("keyctl", syscall(SYS_keyctl, 9999, 0, 0, 0, 0));
    tell("init_module", syscall(SYS_init_module, BAD, 0, BAD));
    tell("finit_module", syscall(SYS_finit_module, -1, BAD, 0));
    tell("delete_module", syscall(SYS_delete_module, BAD, 0));
    tell("kexec_load", syscall(SYS_kexec_load, 0, 9999, 0, 0x7fff));
    tell("kexec_file_load", syscall(SYS_kexec_file_load, -1, -1, 0, 0, 0x7fff));
    tell("reboot", syscall(SYS_reboot, 0, 0, 0, 0));
    tell("open_by_handle_at", syscall(SYS_open_by_handle_at, -1, BAD, 0));
    tell("syslog", syscall(SYS_syslog, 9999, 0, 0));
    tell("swapon", syscall(SYS_swapon, BAD, 0x7fff0000));
    tell("swapoff", syscall(SYS_swapoff, BAD));
    tell("acct", syscall(SYS_acct, BAD));
    tell("quotactl", syscall(SYS_quotactl, -1, 0, 0, 0));
    tell("quotactl_fd", syscall(443, -1, -1, 0, 0));
    tell("setns", syscall(SYS_setns, -1, 0));
    tell("mount", syscall(SYS_mount, BAD, BAD, BAD, 0, 0));
    tell("umount2", syscall(SYS_umount2, BAD, 0x7fff0000));
    tell("pivot_root", syscall(SYS_pivot_root, BAD, BAD));
    tell("fsopen", syscall(430, BAD, 0));
    tell("fsconfig", syscall(431, -1, 0, 0, 0, 0));
    tell("fsmount", syscall(432, -1, 0, 0));
    tell("fspick", syscall(433, -1, BAD, 0));
    tell("open_tree", syscall(428, -1, BAD, 0));
    tell("move_mount", syscall(429, -1, BAD, -1, BAD, 0));
    tell("mount_setattr", syscall(442, -1, BAD, 0, BAD, 32));
    tell("clone3", syscall(435, none, 0));
    tell_clone("clone-plain", 17);
    tell_clone("clone-user", 17 | NEWUSER);
    tell_in_child("unshare-files", SYS_unshare, 0x400, 0);
    tell_in_child("unshare-user", SYS_unshare, NEWUSER, 0);
    tell_in_child("unshare-user-and-net", SYS_unshare, NEWUSER | 0x40000000, 0);

    /* Standard input is no terminal: what is let through says ENOTTY. */
    tell("tiocsti", syscall(SYS_ioctl, 0, 0x5412L, BAD));
    tell("tiocsti-high", syscall(SYS_ioctl, 0, 0x100005412L, BAD));
    tell("tiocsti-all-high", syscall(SYS_ioctl, 0, 0xffffffff00005412L, BAD));
    tell("tioclinux", syscall(SYS_ioctl, 0, 0x541cL, BAD));
    tell("tiocgwinsz", syscall(SYS_ioctl, 0, 0x5413L, BAD));

    tell("socket-unix", syscall(SYS_socket, 1, 1, 0));
    tell("socket-inet", syscall(SYS_socket, 2, 1, 0));
    tell("socket-netlink-route", syscall(SYS_socket, 16, 3, 0));
    tell("socket-netlink-sock-diag", syscall(SYS_socket, 16, 3, 4));
    tell("socket-netlink-audit", syscall(SYS_socket, 16, 3, 9));
    tell("socket-packet", syscall(SYS_socket, 17, 99, 0));
    tell("socket-alg", syscall(SYS_socket, 38, 5, 0));
    tell("socket-alg-high", syscall(SYS_socket, 0x100000026L, 5, 0));
    tell("socket-vsock", syscall(SYS_socket, 40, 1, 0));
    tell("socketpair-unix", syscall(SYS_socketpair, 1, 1, 0, none));
    tell("socketpair-inet", syscall(SYS_socketpair, 2, 1, 0, none));
    tell("socketpair-alg", syscall(SYS_socketpair, 38, 5, 0, none));

    tell("getppid", syscall(SYS_getppid));
    tell("far", syscall(5000));
    tell("lseek-low", syscall(SYS_lseek, 0, 5, 99));
    tell("lseek-high", syscall(SYS_lseek, 0, 0x100000005L, 99));
    tell("lseek-higher", syscall(SYS_lseek, 0, 0x200000005L, 99));

#if defined(__x86_64__)
    tell("iopl", syscall(SYS_iopl, 99));
    tell("ioperm", syscall(SYS_ioperm, 70000, 1, 0));
    /* The x32 ABI: getppid, keyctl. */
    tell("x32-getppid", syscall(0x40000000L | SYS_getppid));
    tell("x32-keyctl", syscall(0x40000000L | SYS_keyctl, 9999, 0, 0, 0, 0));
    tell_i386("i386-getppid", 64, 0, 0, 0);
    tell_i386("i386-keyctl", 288, 9999, 0, 0);
    tell_i386("i386-io_uring_setup", 425, 0, 0, 0);
    tell_i386("i386-umount", 22, BAD, 0, 0);
    tell_i386("i386-ioctl-tiocsti", 54, 0, 0x5412, BAD);
    tell_i386("i386-unshare-user", 310, NEWUSER, 0, 0);
    tell_i386("i386-unshare-files", 310, 0x400, 0, 0);
    tell_i386("i386-socket-alg", 359, 38, 5, 0);
    tell_i386("i386-socket-unix", 359, 1, 1, 0);
    tell_i386("i386-socketcall-socket", 102, 1, BAD, 0);
    tell_i386("i386-socketcall-bind", 102, 2, BAD, 0);
    tell_i386("i386-ipc-shmget", 117, 23, -1, 0);
#endif
    return 0;
}
