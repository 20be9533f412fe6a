/* stop.c: runs a program and sends it a signal before its n-th system call.
 *
 *     stop N SIGNAL COUNT COMMAND...
 *
 * COUNT is a file that gets the number of system calls that the program had
 * begun: with N 0, all of them. The status is the program's, 128 + the signal
 * that ended it, or 77 where a process may not trace its child. It refuses to
 * follow threads: give the program one. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    const long at = strtol(argv[1], NULL, 10);
    const int number = atoi(argv[2]);
    const pid_t child = fork();
    if (!child) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) _exit(77);
        raise(SIGSTOP);
        execv(argv[4], argv + 4);
        _exit(127);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFSTOPPED(status))
        return 77;
    /* a system call stops at its begin and its end; the program's first stop is
     * in its execve */
    const long how = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC |
                     PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SETOPTIONS, child, NULL, how)) return 77;
    long begun = 0;
    bool began = false;
    bool inside = false;
    for (long send = 0;;) {
        ptrace(PTRACE_SYSCALL, child, NULL, send);
        if (waitpid(child, &status, 0) < 0 || !WIFSTOPPED(status)) break;
        const int stopped = WSTOPSIG(status);
        send = 0;
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8)) began = inside = true;
        else if (stopped != (SIGTRAP | 0x80)) send = stopped;
        else if (began) {
            inside = !inside;
            if (inside && ++begun == at) kill(child, number);
        }
    }
    FILE *f = fopen(argv[3], "w");
    if (!f || fprintf(f, "%ld\n", begun) < 0 || fclose(f)) return 2;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
