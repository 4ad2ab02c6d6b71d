/* Handshakes that stay half-way: the listening socket drops every segment with
 * ACK, so that a client's connect succeeds and the server's side never does,
 * until the filter is replaced. */
#ifndef DUSK_TESTS_DROP_ACKS_H
#define DUSK_TESTS_DROP_ACKS_H

#include <linux/filter.h>
#include <stdint.h>
#include <sys/socket.h>

static inline void drop_acks(int listening_fd) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x10, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
  };
  struct sock_fprog program = {.len = 4, .filter = code};
  assert_int_equal(setsockopt(listening_fd, SOL_SOCKET, SO_ATTACH_FILTER,
                              &program, sizeof(program)),
                   0);
}

/* Others' do again; the handshakes from before wait for a retransmission. */
static inline void allow_acks(int listening_fd) {
  int none = 0;
  assert_int_equal(setsockopt(listening_fd, SOL_SOCKET, SO_DETACH_FILTER, &none,
                              sizeof(none)),
                   0);
}

#endif
