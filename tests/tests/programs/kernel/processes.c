/* Memory, threads, processes and terminals. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <linux/kcmp.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "kernel.h"

int memory(void) {
	char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	BE(at != MAP_FAILED);
	at[0] = 'm';
	char *moved = mremap(at, 4096, 1 << 20, MREMAP_MAYMOVE);
	BE(moved != MAP_FAILED && moved[0] == 'm');
	DO(mlock(moved, 4096));
	DO(mlock2(moved, 4096, MLOCK_ONFAULT));
	unsigned char there;
	DO(mincore(moved, 4096, &there));
	BE(there & 1);
	DO(munlock(moved, 4096));
	DO(madvise(moved, 1 << 20, MADV_DONTNEED));
	BE(moved[0] == 0);
	DO(mprotect(moved, 4096, PROT_READ | PROT_EXEC));
	DO(syscall(SYS_membarrier, 0, 0, 0));
	return 0;
}

int writable_code(void) {
	/* What just-in-time compilers do. */
	unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	BE(code != MAP_FAILED);
#ifdef __x86_64__
	memcpy(code, "\xb8\x2a\0\0\0\xc3", 6);
	BE(((int (*)(void))code)() == 42);
#endif
	return 0;
}

int memory_policy(void) {
	DO(syscall(SYS_set_mempolicy, 0, NULL, 0));
	int mode = -1;
	DO(syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0));
	BE(mode == 0);
	return 0;
}

int memory_file(void) {
	int fd, again;
	char path[64];
	DO(fd = memfd_create("m", MFD_ALLOW_SEALING));
	DO(write(fd, "memory", 6));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	DO(again = open(path, O_RDWR));
	TRY(reads(again, "memory"));
	close(again);
	DO(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	BE(write(fd, "x", 1) < 0 && errno == EPERM);
	return 0;
}

int memory_program(void) {
	/* A program that has no name, run by descriptor and by /proc. */
	int self, fd, status;
	char path[64];
	DO(self = open("/proc/self/exe", O_RDONLY));
	DO(fd = memfd_create("program", 0));
	struct stat st;
	DO(fstat(self, &st));
	BE(sendfile(fd, self, NULL, st.st_size) == st.st_size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	for (int way = 0; way < 2; way++) {
		pid_t pid = fork();
		if (pid == 0) {
			char *args[] = {"program", "--nothing", NULL};
			if (way) execve(path, args, environment);
			else fexecve(fd, args, environment);
			_exit(errno);
		}
		DO(waitpid(pid, &status, 0));
		BE(WIFEXITED(status));
		if (WEXITSTATUS(status)) return WEXITSTATUS(status);
	}
	return 0;
}

static pthread_mutex_t robust;

static void *takes_and_ends(void *unused) {
	pthread_mutex_lock(&robust);
	return unused;
}

int threads(void) {
	pthread_mutexattr_t attr;
	pthread_t thread;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attr);
	BE(pthread_create(&thread, NULL, takes_and_ends, NULL) == 0);
	BE(pthread_join(thread, NULL) == 0);
	BE(pthread_mutex_lock(&robust) == EOWNERDEAD);
	return 0;
}

int spawning(void) {
	pid_t pid;
	char *args[] = {"program", "--nothing", NULL};
	BE(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, environment) == 0);
	TRY(ended_well(pid));
	pid = vfork();
	if (pid == 0) { execve("/proc/self/exe", args, environment); _exit(1); }
	return ended_well(pid);
}

int clone3_call(void) {
	struct { unsigned long long flags, pidfd, child, parent, signal, rest[6]; } args = {.signal = SIGCHLD};
	pid_t pid;
	DO(pid = syscall(SYS_clone3, &args, sizeof args));
	if (pid == 0) _exit(0);
	return ended_well(pid);
}

int by_descriptor(void) {
	int fds[2], pidfd, copy;
	siginfo_t info;
	DO(pipe(fds));
	pid_t pid = fork();
	if (pid == 0) { pause(); _exit(0); }
	DO(pidfd = syscall(SYS_pidfd_open, pid, 0));
	DO(copy = syscall(SYS_pidfd_getfd, pidfd, fds[1], 0));
	DO(write(copy, "by pidfd", 8));
	TRY(reads(fds[0], "by pidfd"));
	DO(syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0));
	DO(waitid(P_PIDFD, pidfd, &info, WEXITED));
	BE(info.si_pid == pid && info.si_status == SIGKILL);
	return 0;
}

int own_child(void) {
	static char text[8] = "before";
	char buffer[8] = {0}, path[64];
	int fd, status;
	pid_t pid = fork();
	if (pid == 0) { pause(); _exit(text[0] != 'B'); }
	struct iovec here = {buffer, 8}, there = {text, 8};
	BE(process_vm_readv(pid, &here, 1, &there, 1, 0) == 8);
	BE(strcmp(buffer, "before") == 0);
	BE(process_vm_writev(pid, &(struct iovec){"B", 1}, 1, &there, 1, 0) == 1);
	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	DO(fd = open(path, O_RDWR));
	BE(pread(fd, buffer, 8, (off_t)(unsigned long)text) == 8 && buffer[0] == 'B');
	DO(syscall(SYS_kcmp, getpid(), pid, KCMP_FILE, 1, 1));
	DO(kill(pid, SIGKILL));
	DO(waitpid(pid, &status, 0));
	return 0;
}

int tracing(void) {
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(getppid() == 0);
	}
	DO(waitpid(pid, &status, 0));
	BE(WIFSTOPPED(status));
	DO(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
	DO(ptrace(PTRACE_SYSCALL, pid, NULL, NULL));
	DO(waitpid(pid, &status, 0));
	BE(WIFSTOPPED(status) && WSTOPSIG(status) == (SIGTRAP | 0x80));
	DO(ptrace(PTRACE_DETACH, pid, NULL, NULL));
	TRY(ended_well(pid));
	/* One that is running already. */
	pid = fork();
	if (pid == 0) { pause(); _exit(0); }
	DO(ptrace(PTRACE_SEIZE, pid, NULL, NULL));
	DO(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL));
	DO(waitpid(pid, &status, 0));
	DO(kill(pid, SIGKILL));
	return 0;
}

int no_randomness(void) {
	DO(personality(ADDR_NO_RANDOMIZE));
	BE(personality(0xffffffff) == ADDR_NO_RANDOMIZE);
	return 0;
}

int scheduling(void) {
	cpu_set_t set;
	unsigned cpu;
	DO(sched_getaffinity(0, sizeof set, &set));
	DO(sched_setaffinity(0, sizeof set, &set));
	DO(syscall(SYS_getcpu, &cpu, NULL, NULL));
	BE(CPU_ISSET(cpu, &set));
	int before = getpriority(PRIO_PROCESS, 0);
	BE(nice(1) == before + 1);
	DO(setpriority(PRIO_PROCESS, 0, before + 2));
	BE(getpriority(PRIO_PROCESS, 0) == before + 2);
	struct sched_param none = {0};
	DO(sched_setscheduler(0, SCHED_BATCH, &none));
	DO(syscall(SYS_ioprio_set, 1, 0, 3 << 13));
	DO(sched_yield());
	return 0;
}

int limits(void) {
	struct rlimit old, limit;
	DO(prlimit(0, RLIMIT_NOFILE, NULL, &old));
	limit = old;
	limit.rlim_cur = 64;
	DO(prlimit(0, RLIMIT_NOFILE, &limit, NULL));
	BE(sysconf(_SC_OPEN_MAX) == 64);
	struct rusage used;
	DO(getrusage(RUSAGE_SELF, &used));
	DO(syscall(SYS_close_range, 60, ~0U, 0));
	return 0;
}

int signals(void) {
	/* To a child, to a group, and after a time. */
	int status;
	pid_t pid = fork();
	if (pid == 0) { setpgid(0, 0); pause(); _exit(0); }
	setpgid(pid, pid);
	DO(killpg(pid, SIGTERM));
	DO(waitpid(pid, &status, 0));
	BE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	DO(prctl(PR_SET_CHILD_SUBREAPER, 1));
	pid = fork();
	if (pid == 0) { if (fork() == 0) { usleep(1000); _exit(7); } _exit(0); }
	TRY(ended_well(pid));
	DO(wait(&status));
	BE(WEXITSTATUS(status) == 7);
	timer_t timer;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	DO(sigprocmask(SIG_BLOCK, &set, NULL));
	DO(timer_create(CLOCK_MONOTONIC, &event, &timer));
	struct itimerspec soon = {.it_value = {0, 1000000}};
	DO(timer_settime(timer, 0, &soon, NULL));
	BE(sigwaitinfo(&set, NULL) == SIGUSR2);
	return 0;
}

int terminal(void) {
	/* script, expect, ssh, and a shell with job control. */
	int master, slave;
	struct winsize size = {.ws_row = 12, .ws_col = 34}, seen;
	DO(openpty(&master, &slave, NULL, NULL, &size));
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		if (ioctl(slave, TIOCSCTTY, 0) < 0) _exit(1);
		int tty = open("/dev/tty", O_RDWR);
		if (tty < 0) _exit(2);
		int again = open(ttyname(slave) ? ttyname(slave) : "", O_RDWR);
		if (again < 0) _exit(3);
		if (ioctl(tty, TIOCGWINSZ, &seen) < 0 || seen.ws_row != 12) _exit(4);
		if (tcsetpgrp(tty, getpid()) < 0) _exit(5);
		_exit(write(tty, "tty", 3) != 3);
	}
	TRY(reads(master, "tty"));
	return ended_well(pid);
}

int namespaces_shared(void) {
	DO(unshare(CLONE_FILES | CLONE_FS));
	DO(chdir("/"));
	return 0;
}

int own_filter(void) {
	/* Programs that restrict themselves. */
	struct { unsigned short code; unsigned char yes, no; unsigned k; } program[] = {
		{0x20, 0, 0, 0}, {0x15, 0, 1, SYS_getppid}, {0x06, 0, 0, 0x00050000 | 99}, {0x06, 0, 0, 0x7fff0000}};
	struct { unsigned short length; void *filter; } whole = {4, program};
	DO(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	DO(syscall(SYS_seccomp, 1, 0, &whole));
	BE(syscall(SYS_getppid) < 0 && errno == 99);
	return 0;
}

int own_landlock(void) {
	unsigned long long handled = 1 << 1; /* LANDLOCK_ACCESS_FS_WRITE_FILE */
	int rules;
	TRY(file("f", ""));
	DO(rules = syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0));
	DO(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	DO(syscall(SYS_landlock_restrict_self, rules, 0));
	BE(open("f", O_WRONLY) < 0 && errno == EACCES);
	return 0;
}

int change_ids(void) {
	gid_t groups[] = {3, 4}, got[2];
	DO(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
	DO(setgroups(2, groups));
	DO(setresgid(1, 1, 1));
	DO(seteuid(1));
	DO(seteuid(0));
	DO(setresuid(1, 1, 1));
	BE(getgroups(2, got) == 2 && got[1] == 4);
	BE(setuid(0) < 0 && errno == EPERM);
	return 0;
}
