/* An HTTP/1.0 server: one request at a time, one page each. */
#ifndef SERVER_H
#define SERVER_H

/* Listens on a port of every address; 0 lets the system choose. Gives the socket, or -1 with errno set. */
int server_listen(unsigned short port);

/* The port that a socket listens on, or 0. */
unsigned short server_port(int listener);

/* Answers requests until stopped. Gives -1 with errno set when no more can be accepted. */
int server_run(int listener);

#endif
