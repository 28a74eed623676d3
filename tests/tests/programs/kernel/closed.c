/* What is closed on purpose. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/syscall.h>

#include "kernel.h"

int io_uring(void) {
	char params[256] = {0};
	DO(syscall(SYS_io_uring_setup, 4, params));
	return 0;
}

int page_faults(void) {
	/* 1: of programs alone, which is what ordinary users may ask for. */
	DO(syscall(SYS_userfaultfd, 1));
	return 0;
}

int keyring(void) {
	DO(syscall(SYS_keyctl, 0, -3, 1));
	return 0;
}

int by_handle(void) {
	struct { struct file_handle handle; char more[MAX_HANDLE_SZ]; } it = {.handle.handle_bytes = MAX_HANDLE_SZ};
	int mount;
	TRY(file("f", ""));
	DO(name_to_handle_at(AT_FDCWD, "f", &it.handle, &mount, 0));
	DO(open_by_handle_at(AT_FDCWD, &it.handle, O_RDONLY));
	return 0;
}

int performance(void) {
	/* A software clock of this process. */
	unsigned attr[32] = {1, 128, 1};
	DO(syscall(SYS_perf_event_open, attr, 0, -1, -1, 0));
	return 0;
}
