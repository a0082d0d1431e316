/* The same as client/main.go, for machines with a C compiler: it starts in a
 * third of the time, and thousands of it are started. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int fd;

static void all(int writing, char *b, size_t n)
{
	while (n > 0) {
		ssize_t k = writing ? write(fd, b, n) : read(fd, b, n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			_exit(98);
		b += k, n -= k;
	}
}

int main(int argc, char **argv)
{
	char *dir = getenv("ZAB_HOSTILE_RUN"), *host = getenv("ZAB_HOSTILE_HOST"), *slash = strrchr(argv[0], '/');
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	union { struct cmsghdr head; char room[CMSG_SPACE(3 * sizeof(int))]; } rights;
	unsigned char head[4], reply[2];
	struct iovec io = { head, 4 };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights };
	char name[256] = { 0 };
	size_t n;

	if (!dir || strlen(dir) + 6 > sizeof to.sun_path)
		return 98;
	strcat(strcpy(to.sun_path, dir), "/sock");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
		return 98;
	if (slash)
		argv[0] = slash + 1;
	if (!host)
		host = "";
	n = strlen(host) + 1;
	for (int i = 0; i < argc; i++)
		n += strlen(argv[i]) + 1;
	for (int i = 0; i < 4; i++)
		head[i] = n >> 8 * i;
	rights.head.cmsg_level = SOL_SOCKET;
	rights.head.cmsg_type = SCM_RIGHTS;
	rights.head.cmsg_len = CMSG_LEN(3 * sizeof(int));
	memcpy(CMSG_DATA(&rights.head), (int[]){ 0, 1, 2 }, 3 * sizeof(int));
	if (sendmsg(fd, &m, 0) != 4)
		return 98;
	all(1, host, strlen(host) + 1);
	for (int i = 0; i < argc; i++)
		all(1, argv[i], strlen(argv[i]) + 1);
	all(0, (char *)reply, 2);
	switch (reply[0]) {
	case 0:
		_exit(reply[1]);
	case 1:
		kill(getpid(), reply[1]);
		pause();
	case 2:
		all(0, name, reply[1]);
		setenv("ZAB_HOSTILE_HOST", name, 1);
		execl("/bin/sh", "sh", "-c", argv[argc - 1], (char *)0);
	}
	return 98;
}
