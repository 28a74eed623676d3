/* What ordinary programs ask of the kernel, each thing done in earnest: a call counts when it has
 * had its effect. Each is tried in a process and a directory of its own. Prints for each "NAME ok",
 * "NAME ERRNO", "NAME wrong" if the call succeeded and did something else, or "NAME signal N".
 *
 * usage: program DIR, with an empty DIR that can be written to. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "kernel.h"

int locks(void), rename_across(void), rename_exchange(void), links(void), tmpfile_link(void),
	reopen_deleted(void), reopen_streams(void), copy_between(void), copy_to_memory(void),
	allocate(void), file_status(void), handle_of_name(void), attributes(void), modes(void),
	watch(void), asynchronous(void), positioned(void), uncommon_streams(void), waiting(void),
	pass_descriptor(void), tcp(void), unix_path(void), unix_abstract(void), interfaces(void),
	memory(void), writable_code(void), memory_policy(void), memory_file(void), memory_program(void),
	shared_memory(void), semaphores(void), messages(void), threads(void), spawning(void),
	clone3_call(void), by_descriptor(void), own_child(void), tracing(void), no_randomness(void),
	scheduling(void), limits(void), signals(void), terminal(void), namespaces_shared(void),
	own_filter(void), own_landlock(void), owners(void), change_ids(void), io_uring(void),
	page_faults(void), keyring(void), by_handle(void), performance(void);

char **environment;

int file(const char *name, const char *text) {
	int fd;
	DO(fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644));
	DO(write(fd, text, strlen(text)));
	DO(close(fd));
	return 0;
}

int reads(int fd, const char *text) {
	char buffer[64] = {0};
	DO(read(fd, buffer, sizeof buffer - 1));
	BE(strcmp(buffer, text) == 0);
	return 0;
}

int holds(const char *name, const char *text) {
	int fd, error;
	DO(fd = open(name, O_RDONLY));
	error = reads(fd, text);
	close(fd);
	return error;
}

int ended_well(pid_t pid) {
	int status;
	DO(waitpid(pid, &status, 0));
	BE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return 0;
}

#define IT(name) {#name, name, 0}
static const struct { const char *name; int (*run)(void); int root; } things[] = {
	IT(locks), IT(rename_across), IT(rename_exchange), IT(links), IT(tmpfile_link),
	IT(reopen_deleted), IT(reopen_streams), IT(copy_between), IT(copy_to_memory), IT(allocate),
	IT(file_status), IT(handle_of_name), IT(attributes), IT(modes), IT(watch), IT(asynchronous),
	IT(positioned), IT(uncommon_streams), IT(waiting), IT(pass_descriptor), IT(tcp), IT(unix_path),
	IT(unix_abstract), IT(interfaces), IT(memory), IT(writable_code), IT(memory_policy),
	IT(memory_file), IT(memory_program), IT(shared_memory), IT(semaphores), IT(messages),
	IT(threads), IT(spawning), IT(clone3_call), IT(by_descriptor), IT(own_child), IT(tracing),
	IT(no_randomness), IT(scheduling), IT(limits), IT(signals), IT(terminal),
	IT(namespaces_shared), IT(own_filter), IT(own_landlock),
	/* For who has the capabilities of root's file operations. */
	{"owners", owners, 1}, {"change_ids", change_ids, 1},
	/* Closed on purpose. */
	IT(io_uring), IT(page_faults), IT(keyring), IT(by_handle), IT(performance),
};

int main(int argc, char **argv, char **envp) {
	environment = envp;
	if (argc != 2) return 2;
	if (strcmp(argv[1], "--nothing") == 0) return 0;
	for (size_t i = 0; i < sizeof things / sizeof *things; i++) {
		if (things[i].root && geteuid() != 0) continue;
		char dir[PATH_MAX];
		int status;
		snprintf(dir, sizeof dir, "%s/%s", argv[1], things[i].name);
		fflush(stdout);
		pid_t pid = fork();
		if (pid == 0) {
			alarm(20);
			if (mkdir(dir, 0755) < 0 || chdir(dir) < 0) _exit(errno);
			_exit(things[i].run());
		}
		if (pid < 0 || waitpid(pid, &status, 0) < 0) return 1;
		printf("%s ", things[i].name);
		if (WIFSIGNALED(status)) printf("signal %d\n", WTERMSIG(status));
		else if (WEXITSTATUS(status) == WRONG) printf("wrong\n");
		else if (WEXITSTATUS(status)) printf("%d\n", WEXITSTATUS(status));
		else printf("ok\n");
	}
	return 0;
}
