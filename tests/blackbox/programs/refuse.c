/* Runs a program, its arguments, under a seccomp filter that refuses the means
 * by which dusk seals a listener on Linux: netlink sockets, as a unit hardened
 * by RestrictAddressFamilies= does, and unless the first argument is --diag
 * also socket filters (SO_ATTACH_FILTER), as containers may. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(field)                                                            \
  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define UNLESS(value, skip)                                                    \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (skip))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, (value))

int main(int argc, char **argv) {
  bool only_diag = argc > 1 && strcmp(argv[1], "--diag") == 0;
  argv += only_diag;
  if (argc < 2 + only_diag) return 2;
  /* Of an argument's 64 bits the low half decides, which comes first on all
   * machines that this test is for. */
  struct sock_filter code[] = {
      LOAD(nr),
      UNLESS(SYS_socket, 3),
      LOAD(args[0]),
      UNLESS(AF_NETLINK, 7),
      RETURN(SECCOMP_RET_ERRNO | EAFNOSUPPORT),
      UNLESS(SYS_setsockopt, 5),
      LOAD(args[1]),
      UNLESS(SOL_SOCKET, 3),
      LOAD(args[2]),
      UNLESS(only_diag ? 0 : SO_ATTACH_FILTER, 1),
      RETURN(SECCOMP_RET_ERRNO | EPERM),
      RETURN(SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    perror("seccomp");
    return 1;
  }
  execv(argv[1], argv + 1);
  perror(argv[1]);
  return 1;
}
