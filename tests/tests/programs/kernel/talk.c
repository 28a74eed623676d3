/* Descriptors that wait, sockets, shared memory and queues. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ifaddrs.h>
#include <mqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "kernel.h"

int waiting(void) {
	struct epoll_event event = {.events = EPOLLIN}, found;
	unsigned long long count;
	int epoll, counter, timer, signals;
	DO(epoll = epoll_create1(0));
	DO(counter = eventfd(0, 0));
	event.data.fd = counter;
	DO(epoll_ctl(epoll, EPOLL_CTL_ADD, counter, &event));
	DO(eventfd_write(counter, 5));
	BE(epoll_pwait(epoll, &found, 1, 1000, NULL) == 1 && found.data.fd == counter);
	DO(read(counter, &count, 8));
	BE(count == 5);
	DO(timer = timerfd_create(CLOCK_MONOTONIC, 0));
	struct itimerspec soon = {.it_value = {0, 1000000}};
	DO(timerfd_settime(timer, 0, &soon, NULL));
	DO(read(timer, &count, 8));
	BE(count == 1);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	DO(sigprocmask(SIG_BLOCK, &set, NULL));
	DO(signals = signalfd(-1, &set, 0));
	DO(kill(getpid(), SIGUSR1));
	struct signalfd_siginfo info;
	DO(read(signals, &info, sizeof info));
	BE(info.ssi_signo == SIGUSR1);
	return 0;
}

int pass_descriptor(void) {
	int pair[2], fd;
	TRY(file("f", "passed"));
	DO(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid_t pid = fork();
	char control[CMSG_SPACE(sizeof(int))] = {0}, byte = 0;
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof control};
	if (pid == 0) {
		struct cmsghdr *head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int));
		fd = open("f", O_RDONLY);
		memcpy(CMSG_DATA(head), &fd, sizeof fd);
		_exit(unlink("f") < 0 || sendmsg(pair[1], &message, 0) != 1);
	}
	DO(recvmsg(pair[0], &message, 0));
	BE(CMSG_FIRSTHDR(&message) != NULL);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	TRY(holds(path, "passed"));
	return ended_well(pid);
}

static int talk(int family, const void *address, socklen_t length) {
	int server, client, accepted;
	struct sockaddr_storage own;
	socklen_t size = sizeof own;
	DO(server = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	DO(bind(server, address, length));
	DO(listen(server, 1));
	DO(getsockname(server, (struct sockaddr *)&own, &size));
	pid_t pid = fork();
	if (pid == 0) {
		client = socket(family, SOCK_STREAM, 0);
		_exit(connect(client, (struct sockaddr *)&own, size) < 0 || write(client, "hello", 5) != 5);
	}
	DO(accepted = accept4(server, NULL, NULL, SOCK_CLOEXEC));
	TRY(reads(accepted, "hello"));
	return ended_well(pid);
}

int tcp(void) {
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	return talk(AF_INET, &address, sizeof address);
}

int unix_path(void) {
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
	return talk(AF_UNIX, &address, sizeof address);
}

int unix_abstract(void) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "kernel-%d", getpid());
	return talk(AF_UNIX, &address, sizeof address);
}

int interfaces(void) {
	struct ifaddrs *list, *one;
	DO(getifaddrs(&list));
	for (one = list; one; one = one->ifa_next)
		if (strcmp(one->ifa_name, "lo") == 0) return 0;
	return WRONG;
}

int shared_memory(void) {
	int id, fd, status;
	DO(id = shmget(IPC_PRIVATE, 4096, 0600));
	char *at = shmat(id, NULL, 0);
	BE(at != (void *)-1);
	DO(shmctl(id, IPC_RMID, NULL));
	pid_t pid = fork();
	if (pid == 0) { at[0] = 's'; _exit(0); }
	DO(waitpid(pid, &status, 0));
	BE(at[0] == 's');
	char name[32];
	snprintf(name, sizeof name, "/kernel-%d", getpid());
	DO(fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	DO(shm_unlink(name));
	DO(ftruncate(fd, 4096));
	BE(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED);
	return 0;
}

int semaphores(void) {
	int id;
	struct sembuf up = {0, 1, 0}, down = {0, -1, 0};
	DO(id = semget(IPC_PRIVATE, 1, 0600));
	DO(semop(id, &up, 1));
	struct timespec soon = {1, 0};
	DO(semtimedop(id, &down, 1, &soon));
	BE(semctl(id, 0, GETVAL) == 0);
	DO(semctl(id, 0, IPC_RMID));
	return 0;
}

int messages(void) {
	struct { long kind; char text[8]; } message = {1, "system5"}, got = {0};
	int id;
	DO(id = msgget(IPC_PRIVATE, 0600));
	DO(msgsnd(id, &message, 8, 0));
	DO(msgrcv(id, &got, 8, 0, 0));
	BE(strcmp(got.text, "system5") == 0);
	DO(msgctl(id, IPC_RMID, NULL));
	struct mq_attr attr = {.mq_maxmsg = 1, .mq_msgsize = 8};
	mqd_t queue;
	char name[32];
	snprintf(name, sizeof name, "/kernel-%d", getpid());
	queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	if (queue < 0) {
		/* It can be there all the same. */
		int error = errno;
		mq_unlink(name);
		return error;
	}
	DO(mq_unlink(name));
	DO(mq_send(queue, "posix", 6, 0));
	DO(mq_receive(queue, got.text, 8, NULL));
	BE(strcmp(got.text, "posix") == 0);
	return 0;
}
