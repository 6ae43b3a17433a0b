/*
 * cservice              serves pages on $PORT
 * cservice --check      asks the server on $PORT whether it is healthy: exit code 0 or 1
 * cservice --self-test  serves on any free port, asks itself for every page, and shows the answers
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "server.h"

static unsigned short port_of_environment(void)
{
    const char *text = getenv("PORT");
    char *end;
    long port;

    if (text == NULL || *text == '\0')
        return 8080;
    port = strtol(text, &end, 10);
    if (*end != '\0' || port < 1 || port > 65535) {
        fprintf(stderr, "cservice: PORT=%s is no port\n", text);
        exit(2);
    }
    return (unsigned short)port;
}

static int fail(const char *attempt)
{
    fprintf(stderr, "cservice: %s: %s\n", attempt, strerror(errno));
    return 1;
}

static void stop(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

static int serve(void)
{
    /* As the first process of a container it has no default action for signals. */
    struct sigaction action = {.sa_handler = stop};
    unsigned short port = port_of_environment();
    int listener = server_listen(port);

    if (listener < 0)
        return fail("cannot listen");
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    printf("cservice: serving on port %d as user %d\n", port, (int)getuid());
    fflush(stdout);
    server_run(listener);
    return fail("cannot accept connections");
}

static int check(void)
{
    char body[256];

    return client_get(port_of_environment(), "/health", body, sizeof body) == 200 ? 0 : 1;
}

static int self_test(void)
{
    static const struct {
        const char *path;
        int status;
    } expected[] = {{"/", 200}, {"/health", 200}, {"/missing", 404}};
    char body[256], directory[256];
    int failures = 0;
    int listener = server_listen(0);
    pid_t server;

    if (listener < 0)
        return fail("cannot listen");
    server = fork();
    if (server < 0)
        return fail("cannot start the server");
    if (server == 0)
        _exit(server_run(listener) == 0 ? 0 : 1);
    printf("user %d, group %d, directory %s\n", (int)getuid(), (int)getgid(),
           getcwd(directory, sizeof directory) != NULL ? directory : "?");
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        int status = client_get(server_port(listener), expected[i].path, body, sizeof body);
        printf("GET %s: %d %s", expected[i].path, status, status < 0 ? "\n" : body);
        failures += status != expected[i].status;
    }
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    return failures == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 1)
        return serve();
    if (argc == 2 && strcmp(argv[1], "--check") == 0)
        return check();
    if (argc == 2 && strcmp(argv[1], "--self-test") == 0)
        return self_test();
    fprintf(stderr, "usage: cservice [--check | --self-test]\n");
    return 2;
}
