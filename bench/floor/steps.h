/* What plumbing by C does in whatever mode: changes are collected in one batch, and sent in one trip. */
#pragma once

#include "floor.h"

extern struct batch steps;

/* A change that is answered, of whatever kind, is counted; of an interface it is begun, too. */
void expect_answer(void);
struct ifinfomsg *change_link(int type, int flags, int ifindex);
void send_changes(const char *what);
void read_table(int type, size_t body, int family, visitor *visit);

/* tap0, persistent, with what a former opener may have left reset; its ifindex. */
int make_tap(void);
/* In a change of an interface. */
void silent_ipv6(int mode);
void bring_up(int ifindex);
void set_mac(int ifindex, const unsigned char *mac);
