/* Files and their attributes. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "kernel.h"

int locks(void) {
	int one, two, status;
	TRY(file("f", "x"));
	DO(one = open("f", O_RDWR));
	DO(two = open("f", O_RDWR));
	DO(flock(one, LOCK_EX));
	BE(flock(two, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK);
	DO(flock(one, LOCK_UN));
	DO(lockf(one, F_LOCK, 1));
	pid_t pid = fork();
	if (pid == 0) _exit(lockf(two, F_TLOCK, 1) < 0 && (errno == EAGAIN || errno == EACCES) ? 0 : 1);
	DO(waitpid(pid, &status, 0));
	BE(status == 0);
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	DO(lockf(one, F_ULOCK, 1));
	DO(fcntl(one, F_OFD_SETLK, &whole));
	BE(fcntl(two, F_OFD_SETLK, &whole) < 0 && errno == EAGAIN);
	return 0;
}

int rename_across(void) {
	DO(mkdir("a", 0755));
	DO(mkdir("b", 0755));
	TRY(file("a/f", "moved"));
	DO(rename("a/f", "b/g"));
	TRY(holds("b/g", "moved"));
	DO(mkdir("a/dir", 0755));
	TRY(file("a/dir/f", "inner"));
	DO(rename("a/dir", "b/dir"));
	TRY(holds("b/dir/f", "inner"));
	return 0;
}

int rename_exchange(void) {
	DO(mkdir("a", 0755));
	TRY(file("a/f", "one"));
	TRY(file("g", "two"));
	DO(renameat2(AT_FDCWD, "a/f", AT_FDCWD, "g", RENAME_EXCHANGE));
	TRY(holds("g", "one"));
	BE(renameat2(AT_FDCWD, "a/f", AT_FDCWD, "g", RENAME_NOREPLACE) < 0 && errno == EEXIST);
	return 0;
}

int links(void) {
	struct stat st;
	DO(mkdir("a", 0755));
	TRY(file("f", "linked"));
	DO(link("f", "a/f"));
	DO(stat("a/f", &st));
	BE(st.st_nlink == 2);
	DO(symlink("../f", "a/l"));
	TRY(holds("a/l", "linked"));
	DO(unlink("f"));
	TRY(holds("a/f", "linked"));
	return 0;
}

int tmpfile_link(void) {
	int fd;
	char path[64];
	DO(mkdir("a", 0755));
	DO(fd = open("a", O_TMPFILE | O_RDWR, 0600));
	DO(write(fd, "nameless", 8));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	DO(linkat(AT_FDCWD, path, AT_FDCWD, "a/named", AT_SYMLINK_FOLLOW));
	TRY(holds("a/named", "nameless"));
	DO(linkat(AT_FDCWD, path, AT_FDCWD, "elsewhere", AT_SYMLINK_FOLLOW));
	return holds("elsewhere", "nameless");
}

int reopen_deleted(void) {
	int fd, again;
	char path[64];
	TRY(file("f", "deleted"));
	DO(fd = open("f", O_RDWR));
	DO(unlink("f"));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	DO(again = open(path, O_RDWR));
	TRY(reads(again, "deleted"));
	DO(mkdir("d", 0755));
	TRY(file("d/f", "below"));
	DO(fd = open("d/f", O_RDONLY));
	DO(unlink("d/f"));
	DO(rmdir("d"));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return holds(path, "below");
}

int reopen_streams(void) {
	int fds[2], out;
	char c = 0;
	DO(pipe(fds));
	DO(dup2(fds[1], 1));
	DO(out = open("/dev/stdout", O_WRONLY));
	DO(write(out, "p", 1));
	DO(read(fds[0], &c, 1));
	BE(c == 'p');
	DO(dup2(fds[0], 0));
	DO(write(out, "q", 1));
	DO(out = open("/dev/stdin", O_RDONLY));
	DO(read(out, &c, 1));
	BE(c == 'q');
	TRY(file("log", ""));
	DO(out = open("log", O_WRONLY | O_APPEND));
	DO(dup2(out, 2));
	DO(out = open("/dev/stderr", O_WRONLY | O_APPEND));
	DO(write(out, "logged", 6));
	return holds("log", "logged");
}

int copy_between(void) {
	int from, to, fds[2];
	TRY(file("f", "copied"));
	DO(from = open("f", O_RDONLY));
	DO(to = open("g", O_RDWR | O_CREAT, 0644));
	BE(copy_file_range(from, NULL, to, NULL, 6, 0) == 6);
	TRY(holds("g", "copied"));
	DO(ftruncate(to, 0));
	DO(lseek(to, 0, SEEK_SET));
	off_t start = 0;
	BE(sendfile(to, from, &start, 6) == 6);
	TRY(holds("g", "copied"));
	DO(pipe(fds));
	loff_t at = 0;
	BE(splice(from, &at, fds[1], NULL, 6, 0) == 6);
	TRY(reads(fds[0], "copied"));
	struct iovec text = {"vector", 6};
	BE(vmsplice(fds[1], &text, 1, 0) == 6);
	int other[2];
	DO(pipe(other));
	BE(tee(fds[0], other[1], 6, 0) == 6);
	return reads(other[0], "vector");
}

int copy_to_memory(void) {
	/* From one file system to another, as cp and cargo do. */
	int from, to;
	TRY(file("f", "copied"));
	DO(from = open("f", O_RDONLY));
	DO(to = memfd_create("m", 0));
	BE(sendfile(to, from, NULL, 6) == 6);
	return 0;
}

int allocate(void) {
	struct stat st;
	int fd;
	DO(fd = open("f", O_RDWR | O_CREAT, 0644));
	DO(fallocate(fd, 0, 0, 1 << 16));
	DO(fstat(fd, &st));
	BE(st.st_size == 1 << 16);
	DO(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 12));
	DO(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	DO(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
	DO(readahead(fd, 0, 4096));
	DO(fdatasync(fd));
	DO(syncfs(fd));
	return 0;
}

int file_status(void) {
	struct statx sx;
	TRY(file("f", "four"));
	DO(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &sx));
	BE(sx.stx_size == 4);
	DO(syscall(SYS_faccessat2, AT_FDCWD, "f", W_OK, AT_EACCESS));
	struct { unsigned long long flags, mode, resolve; } how = {O_RDONLY, 0, 0x08 /* RESOLVE_BENEATH */};
	int fd;
	DO(fd = syscall(SYS_openat2, AT_FDCWD, "f", &how, sizeof how));
	struct timespec times[2] = {{1000, 0}, {2000, 0}};
	DO(futimens(fd, times));
	struct stat st;
	DO(fstat(fd, &st));
	BE(st.st_mtime == 2000);
	return 0;
}

int handle_of_name(void) {
	struct { struct file_handle handle; char more[MAX_HANDLE_SZ]; } it = {.handle.handle_bytes = MAX_HANDLE_SZ};
	int mount;
	TRY(file("f", ""));
	DO(name_to_handle_at(AT_FDCWD, "f", &it.handle, &mount, 0));
	return 0;
}

int attributes(void) {
	char value[8] = {0};
	TRY(file("f", ""));
	DO(setxattr("f", "user.name", "value", 5, 0));
	DO(getxattr("f", "user.name", value, sizeof value));
	BE(strcmp(value, "value") == 0);
	DO(removexattr("f", "user.name"));
	return 0;
}

int modes(void) {
	struct stat st;
	TRY(file("f", ""));
	DO(chmod("f", 04755));
	DO(chown("f", geteuid(), getegid()));
	DO(chmod("f", 06711));
	DO(stat("f", &st));
	BE((st.st_mode & 07777) == 06711);
	DO(mkdir("d", 0));
	DO(chmod("d", 03777));
	DO(mkfifo("p", 0600));
	DO(umask(077));
	TRY(file("g", ""));
	DO(stat("g", &st));
	BE((st.st_mode & 0777) == 0600);
	return 0;
}

int watch(void) {
	char buffer[256];
	int fd;
	DO(fd = inotify_init1(IN_CLOEXEC));
	DO(inotify_add_watch(fd, ".", IN_CREATE));
	TRY(file("f", ""));
	DO(read(fd, buffer, sizeof buffer));
	BE(strcmp(((struct inotify_event *)buffer)->name, "f") == 0);
	return 0;
}

int asynchronous(void) {
	aio_context_t context = 0;
	struct io_event event;
	int fd;
	DO(syscall(SYS_io_setup, 4, &context));
	DO(fd = open("f", O_RDWR | O_CREAT, 0644));
	struct iocb block = {.aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = fd,
		.aio_buf = (unsigned long)"written", .aio_nbytes = 7}, *list = &block;
	BE(syscall(SYS_io_submit, context, 1, &list) == 1);
	BE(syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1);
	BE(event.res == 7);
	DO(syscall(SYS_io_destroy, context));
	return holds("f", "written");
}

int positioned(void) {
	int fd;
	DO(fd = open("f", O_RDWR | O_CREAT, 0644));
	struct iovec text[2] = {{"two ", 4}, {"parts", 5}};
	BE(pwritev2(fd, text, 2, 0, 0) == 9);
	return holds("f", "two parts");
}

int uncommon_streams(void) {
	int fd;
	char byte;
	DO(fd = open("/dev/full", O_WRONLY));
	BE(write(fd, "x", 1) < 0 && errno == ENOSPC);
	DO(fd = open("/dev/zero", O_RDWR));
	DO(read(fd, &byte, 1));
	BE(byte == 0);
	BE(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) != MAP_FAILED);
	DO(fd = open("/dev/urandom", O_RDONLY));
	DO(read(fd, &byte, 1));
	DO(syscall(SYS_getrandom, &byte, 1, 0));
	return 0;
}

int owners(void) {
	struct stat st;
	TRY(file("f", ""));
	DO(chown("f", 1, 2));
	DO(chmod("f", 06755));
	DO(stat("f", &st));
	BE(st.st_uid == 1 && st.st_gid == 2 && (st.st_mode & 07777) == 06755);
	return 0;
}
