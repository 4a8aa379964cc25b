/*
 * libseccomp's answer to a profile, for comparison. Reads commands from stdin, one a line:
 *
 *   filter DEFAULT        start a filter with this default action
 *   only                  without the machine's own architecture
 *   arch TOKEN            add an architecture
 *   rule ACTION NAME N [ARG OP A B]...
 *   emit                  answer "program LENGTH" and the instructions, or "error ERRNO LINE" (once for each filter)
 *   resolve TOKEN NAME    answer the number of a system call, as libseccomp's API gives it
 *   time ROUNDS           answer the nanoseconds of each build of the filter (since "filter") from scratch
 *   optimize LEVEL        SCMP_FLTATR_CTL_OPTIMIZE
 *
 * Numbers may be in any base that strtoull(3) takes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_LINES 32768

static char *lines[MAX_LINES];
static int line_count;

static uint64_t number(void)
{
	const char *word = strtok(NULL, " \n");
	return word ? strtoull(word, NULL, 0) : 0;
}

static int add_rule(scmp_filter_ctx filter)
{
	uint32_t action = number();
	const char *name = strtok(NULL, " \n");
	unsigned count = number();
	struct scmp_arg_cmp args[6] = { 0 };
	for (unsigned i = 0; i < count && i < 6; i++) {
		args[i].arg = number();
		args[i].op = (enum scmp_compare)number();
		args[i].datum_a = number();
		args[i].datum_b = number();
	}
	int nr = seccomp_syscall_resolve_name(name);
	if (nr == __NR_SCMP_ERROR)
		return 0;
	return seccomp_rule_add_array(filter, action, nr, count, args);
}

/* Carries out the lines since "filter"; returns a memfd with the program, or -1 with *failed set. */
static int build(int *failed, int *cause)
{
	scmp_filter_ctx filter = NULL;
	int result = -1;
	for (int i = 0; i < line_count; i++) {
		char line[4096];
		int rc = 0;
		snprintf(line, sizeof line, "%s", lines[i]);
		const char *verb = strtok(line, " \n");
		if (!strcmp(verb, "filter"))
			filter = seccomp_init(number());
		else if (!strcmp(verb, "only"))
			rc = seccomp_arch_remove(filter, SCMP_ARCH_NATIVE);
		else if (!strcmp(verb, "arch"))
			rc = seccomp_arch_add(filter, number());
		else if (!strcmp(verb, "optimize"))
			rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, number());
		else if (!strcmp(verb, "rule"))
			rc = add_rule(filter);
		if (rc < 0 && rc != -EEXIST) {
			*cause = -rc;
			*failed = i;
			goto out;
		}
		/* An architecture that is there already is no failure. */
		if (rc == -EEXIST && strcmp(verb, "arch")) {
			*cause = EEXIST;
			*failed = i;
			goto out;
		}
	}
	result = memfd_create("program", MFD_CLOEXEC);
	int rc = seccomp_export_bpf(filter, result);
	if (rc < 0) {
		close(result);
		result = -1;
		*cause = -rc;
		*failed = line_count;
	}
out:
	if (filter)
		seccomp_release(filter);
	return result;
}

/* In a process of its own with a deadline: libseccomp 2.5.4 loops for ever over some profiles. */
static void emit(void)
{
	int fd = memfd_create("answer", MFD_CLOEXEC);
	pid_t child = fork();
	if (child == 0) {
		int failed = 0, cause = 0;
		alarm(2);
		int program = build(&failed, &cause);
		if (program < 0) {
			dprintf(fd, "error %d %d\n", cause, failed);
			_exit(0);
		}
		off_t length = lseek(program, 0, SEEK_END), sent = 0;
		dprintf(fd, "program %ld\n", (long)length);
		if (sendfile(fd, program, &sent, length) != length)
			_exit(1);
		_exit(0);
	}
	int status = 0;
	if (child < 0 || waitpid(child, &status, 0) != child)
		exit(1);
	if (WIFSIGNALED(status)) {
		printf("error %d 0\n", ETIMEDOUT);
	} else {
		char answer[65536];
		ssize_t length = pread(fd, answer, sizeof answer, 0);
		fwrite(answer, 1, length, stdout);
	}
	close(fd);
}

static void measure(long rounds)
{
	for (long i = 0; i < rounds; i++) {
		int failed, cause;
		struct timespec start, end;
		clock_gettime(CLOCK_MONOTONIC, &start);
		int fd = build(&failed, &cause);
		clock_gettime(CLOCK_MONOTONIC, &end);
		if (fd >= 0)
			close(fd);
		printf("%ld%c", (end.tv_sec - start.tv_sec) * 1000000000 + end.tv_nsec - start.tv_nsec,
		       i + 1 < rounds ? ' ' : '\n');
	}
}

int main(void)
{
	char *line = NULL;
	size_t size = 0;
	while (getline(&line, &size, stdin) > 0) {
		if (!strncmp(line, "resolve ", 8)) {
			strtok(line, " \n");
			uint32_t arch = number();
			printf("%d\n", seccomp_syscall_resolve_name_arch(arch, strtok(NULL, " \n")));
		} else if (!strncmp(line, "emit", 4)) {
			emit();
		} else if (!strncmp(line, "time ", 5)) {
			measure(atol(line + 5));
		} else {
			if (!strncmp(line, "filter ", 7)) {
				while (line_count)
					free(lines[--line_count]);
			}
			if (line_count == MAX_LINES)
				exit(1);
			lines[line_count++] = strdup(line);
			continue;
		}
		fflush(stdout);
	}
	return 0;
}
