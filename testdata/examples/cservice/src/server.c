#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "pages.h"

/* A client that says nothing for this long is left alone, so that others get their turn. */
enum { CLIENT_SECONDS_MAX = 5, REQUEST_BYTES_MAX = 4096 };

int server_listen(unsigned short port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int reuse = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_ANY);
    if (listener < 0)
        return -1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 16) != 0) {
        int reason = errno;
        close(listener);
        errno = reason;
        return -1;
    }
    return listener;
}

unsigned short server_port(int listener)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;

    if (getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        return 0;
    return ntohs(address.sin_port);
}

/* Reads until the empty line that ends a request; only its first line counts. */
static int read_request(int client, char *request, size_t size)
{
    size_t used = 0;

    while (used < size - 1) {
        ssize_t count = read(client, request + used, size - 1 - used);
        if (count <= 0)
            return -1;
        used += (size_t)count;
        request[used] = '\0';
        if (strstr(request, "\r\n\r\n") != NULL)
            return 0;
    }
    return -1;
}

static void send_all(int client, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t count = send(client, bytes, size, MSG_NOSIGNAL);
        if (count <= 0)
            return;
        bytes += count;
        size -= (size_t)count;
    }
}

static void answer(int client)
{
    char request[REQUEST_BYTES_MAX], path[256], header[256];
    struct page page = {400, "Bad Request", "This is no request for a page.\n"};

    if (read_request(client, request, sizeof request) == 0 && sscanf(request, "GET %255s HTTP/", path) == 1)
        page = page_at(path);
    int size = snprintf(header, sizeof header,
                        "HTTP/1.0 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", page.status,
                        page.reason, strlen(page.body));
    send_all(client, header, (size_t)size);
    send_all(client, page.body, strlen(page.body));
}

int server_run(int listener)
{
    struct timeval patience = {.tv_sec = CLIENT_SECONDS_MAX};

    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            return -1;
        }
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        answer(client);
        close(client);
    }
}
