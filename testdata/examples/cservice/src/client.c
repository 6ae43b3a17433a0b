#include "client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int exchange(int server, const char *path, char *answer, size_t size)
{
    char request[512];
    size_t used = 0;
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\n\r\n", path);

    if (length < 0 || (size_t)length >= sizeof request)
        return -1;
    if (send(server, request, (size_t)length, MSG_NOSIGNAL) != length)
        return -1;
    while (used < size - 1) {
        ssize_t count = read(server, answer + used, size - 1 - used);
        if (count < 0)
            return -1;
        if (count == 0)
            break;
        used += (size_t)count;
    }
    answer[used] = '\0';
    return 0;
}

int client_get(unsigned short port, const char *path, char *body, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval patience = {.tv_sec = 2};
    char answer[4096];
    int status = -1;
    int server = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (server < 0)
        return -1;
    setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(server, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(server, (struct sockaddr *)&address, sizeof address) == 0 &&
        exchange(server, path, answer, sizeof answer) == 0) {
        const char *end = strstr(answer, "\r\n\r\n");
        if (end != NULL && sscanf(answer, "HTTP/%*d.%*d %d", &status) == 1)
            snprintf(body, size, "%s", end + 4);
        else
            status = -1;
    }
    close(server);
    return status;
}
