//! The network of steps and of `bake run`: what is reached, what is not, and what is left behind.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bake_testkit::program;
use rustix::process::{Pid, Signal, kill_process};

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("a_step_does_not_reach_what_only_the_host_should", &["root", "pasta"], isolated),
    ("a_step_with_the_hosts_network_reaches_everything", &[], host_network),
    ("a_step_reaches_the_outside_and_the_host_by_name", &["root", "pasta"], outbound),
    ("steps_at_the_same_time_do_not_see_one_another", &["root", "pasta"], concurrent),
    ("a_later_step_finds_nothing_of_an_earlier_one", &["root", "pasta"], sequential),
    ("nothing_is_left_of_a_network", &["root", "pasta"], nothing_left),
    ("without_pasta_the_hosts_network_is_shared_with_a_notice", &[], without_pasta),
    ("isolation_can_be_demanded", &[], demanded),
    ("an_ordinary_user_has_the_same_isolation", &["root", "pasta", "setpriv", "unshare"], rootless),
    ("a_local_resolver_is_reached", &["root", "pasta", "unshare"], local_resolver),
    ("run_publishes_ports", &["root", "pasta"], publish),
    ("run_refuses_ports_without_a_network", &[], no_ports),
    ("names_are_in_no_layer", &[], names),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// How long something may take that another process must do.
const PATIENCE: Duration = Duration::from_mins(1);

/// A web server that greets everybody, on a port of its own.
struct Server {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

const GREETING: &str = "hello from the host";

impl Server {
    fn on(address: IpAddr) -> Result<Self, String> {
        let listener = TcpListener::bind((address, 0)).map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let mut client = client;
                let mut request = [0_u8; 1024];
                let _ = client.set_read_timeout(Some(Duration::from_secs(5)));
                let _ = client.read(&mut request);
                let length = GREETING.len() + 1;
                let _ = write!(client, "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{GREETING}\n");
            }
        });
        Ok(Self { address, ended })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// The address of this machine that others see.
fn own_address() -> Result<IpAddr, String> {
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(|error| error.to_string())?;
    socket.connect("198.51.100.1:9").map_err(|error| format!("this machine has no route: {error}"))?;
    socket.local_addr().map(|address| address.ip()).map_err(|error| error.to_string())
}

/// Writes the Dockerfile of a context.
fn dockerfile(scratch: &Scratch, text: &str) -> Outcome {
    scratch.write("context/Dockerfile", format!("FROM busybox\n{text}\n"))
}

fn build(environment: &Environment, scratch: &Scratch, flags: &[&str]) -> Command {
    let mut command = environment.build(&scratch.store());
    command.arg("--no-cache").args(flags).arg(scratch.at("context"));
    command
}

/// A shell command that says what a TCP port answers, or that nothing does.
fn ask(address: SocketAddr) -> String {
    format!("timeout 5 wget -q -O - http://{address}/ || echo unreachable")
}

/// The command of a step that tries all that a host offers.
const SOCKETS: &str = "cat /proc/net/unix; readlink /proc/self/ns/net; ls /sys/class/net";

fn isolated(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let server = Server::on(Ipv4Addr::LOCALHOST.into())?;
    let abstract_name = format!("bake-test-{}", std::process::id());
    let name = std::os::unix::net::SocketAddr::from_abstract_name(&abstract_name).map_err(|error| error.to_string())?;
    let _listener = UnixListener::bind_addr(&name).map_err(|error| error.to_string())?;
    let gateway = SocketAddr::from(([10, 0, 2, 2], server.address.port()));
    dockerfile(&scratch, &format!("RUN {}; {}; {SOCKETS}", ask(server.address), ask(gateway)))?;
    let finished = succeed(&mut build(environment, &scratch, &[]))?;
    let own = fs::read_link("/proc/self/ns/net").map_err(|error| error.to_string())?.display().to_string();
    for unwanted in [GREETING, &abstract_name, &own] {
        let shown = finished.stderr.lines().any(|line| !line.contains("RUN") && line.contains(unwanted));
        check(!shown, || format!("`{unwanted}` in {}", finished.stderr))?;
    }
    let devices: Vec<&str> = finished.stderr.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    check(devices.ends_with(&["eth0", "lo"]) || devices.contains(&"eth0"), || finished.stderr.clone())?;
    check(finished.stderr.contains("unreachable"), || finished.stderr.clone())
}

fn host_network(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let server = Server::on(Ipv4Addr::LOCALHOST.into())?;
    dockerfile(&scratch, &format!("RUN {}; {SOCKETS}", ask(server.address)))?;
    let finished = succeed(&mut build(environment, &scratch, &["--network=host"]))?;
    let own = fs::read_link("/proc/self/ns/net").map_err(|error| error.to_string())?.display().to_string();
    for wanted in [GREETING, &own] {
        check(finished.stderr.contains(wanted), || format!("no `{wanted}` in {}", finished.stderr))?;
    }
    // A step that asks for it by itself needs leave.
    dockerfile(&scratch, "RUN --network=host true")?;
    expect_failure(&finish(&mut build(environment, &scratch, &[]))?, 2, &["network.host"])?;
    succeed(&mut build(environment, &scratch, &["--allow", "network.host"]))?;
    dockerfile(&scratch, "RUN --network=none ls /sys/class/net | tr '\\n' ' '")?;
    let finished = succeed(&mut build(environment, &scratch, &[]))?;
    check(finished.stderr.contains(" lo \n") || finished.stderr.contains(" lo\n"), || finished.stderr.clone())
}

fn outbound(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let server = Server::on(own_address()?)?;
    let port = server.address.port();
    dockerfile(
        &scratch,
        &format!("RUN {} && timeout 5 wget -q -O - http://machine:{port}/ && cat /etc/hosts", ask(server.address)),
    )?;
    let finished = succeed(&mut build(environment, &scratch, &["--add-host", "machine:host-gateway"]))?;
    let greetings = finished.stderr.lines().filter(|line| line.ends_with(GREETING)).count();
    equal(&greetings, &2, "greetings").map_err(|problem| format!("{problem}\n{}", finished.stderr))
}

fn concurrent(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    // Each listens while the other looks; files cannot tell them apart, so time has to.
    let text = "FROM busybox AS a\nRUN (nc -l -p 7777 -e echo seen & sleep 2); echo a > /a\n\
        FROM busybox AS b\nRUN sleep 1; nc -w 1 127.0.0.1 7777 < /dev/null || echo alone; netstat -ltn | grep 7777 || echo quiet; echo b > /b\n\
        FROM busybox\nCOPY --from=a /a /a\nCOPY --from=b /b /b\n";
    scratch.write("context/Dockerfile", text)?;
    let finished = succeed(&mut build(environment, &scratch, &["--jobs", "2"]))?;
    for wanted in [" alone\n", " quiet\n"] {
        check(finished.stderr.contains(wanted), || format!("no `{wanted}` in {}", finished.stderr))?;
    }
    Ok(())
}

fn sequential(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let look = "netstat -ltn | grep 7777 || echo quiet; readlink /proc/self/ns/net";
    dockerfile(
        &scratch,
        &format!("RUN nc -l -p 7777 -e echo seen & sleep 0.2; readlink /proc/self/ns/net\nRUN {look}"),
    )?;
    let finished = succeed(&mut build(environment, &scratch, &[]))?;
    check(finished.stderr.contains(" quiet\n"), || finished.stderr.clone())?;
    let used: Vec<&str> =
        finished.stderr.lines().filter_map(|line| line.split(' ').find(|word| word.starts_with("net:["))).collect();
    check(used.len() == 2 && used.windows(2).all(|pair| pair[0] == pair[1]), || finished.stderr.clone())
}

/// The processes of `pasta` and of its helper that descend from this test: those whose command line begins so and that
/// share no namespace with it.
fn network_processes(marker: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let processes = entries.filter_map(|entry| Some(entry.ok()?.path()));
    processes
        .filter(|path| {
            fs::read(path.join("cmdline"))
                .is_ok_and(|line| line.starts_with(b"pasta\0") || line.starts_with(b"bake-sandbox-network\0"))
        })
        .filter(|path| fs::read_link(path.join("exe")).is_ok_and(|exe| exe.display().to_string().contains(marker)))
        .collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        check(Instant::now() < deadline, || format!("{what} did not happen within {PATIENCE:?}"))?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn nothing_left(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    // A copy of the program tells this test's processes from those of others.
    let place = scratch.path().join("programs");
    fs::create_dir(&place).map_err(|error| error.to_string())?;
    let marker = place.display().to_string();
    let pasta = place.join("pasta");
    fs::copy("/usr/bin/pasta", &pasta).map_err(|error| error.to_string())?;
    open_to_everybody(&scratch)?;
    scratch.write("config.toml", format!("[network]\nrequire-isolation = true\npasta = \"{}\"\n", pasta.display()))?;
    let started = |command: &mut Command| program::start(command.env("BAKE_CONFIG", scratch.at("config.toml")));

    for (text, code) in [("RUN true", Some(0)), ("RUN false", Some(1))] {
        dockerfile(&scratch, text)?;
        let running = started(&mut build(environment, &scratch, &[])).map_err(|error| error.to_string())?;
        let finished = running.wait(PATIENCE).map_err(|error| error.to_string())?;
        equal(&finished.code, &code, text).map_err(|problem| format!("{problem}\n{}", finished.stderr))?;
        equal(&network_processes(&marker), &Vec::new(), "processes of networks")?;
    }
    for signal in [Signal::INT, Signal::KILL] {
        dockerfile(&scratch, "RUN sleep 300")?;
        let running = started(&mut build(environment, &scratch, &[])).map_err(|error| error.to_string())?;
        wait_until("the network", || !network_processes(&marker).is_empty())?;
        let id = i32::try_from(running.id()).ok().and_then(Pid::from_raw).ok_or("a process has an ID")?;
        kill_process(id, signal).map_err(|error| error.to_string())?;
        running.wait(PATIENCE).map_err(|error| error.to_string())?;
        wait_until("the end of the network", || network_processes(&marker).is_empty())?;
    }
    Ok(())
}

/// Lets everybody enter a scratch directory.
fn open_to_everybody(scratch: &Scratch) -> Outcome {
    for directory in scratch.path().ancestors().take(2) {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn without_pasta(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("config.toml", "[network]\npasta = \"/nowhere/pasta\"\n")?;
    let server = Server::on(Ipv4Addr::LOCALHOST.into())?;
    dockerfile(&scratch, &format!("RUN {}\nRUN true", ask(server.address)))?;
    let finished = succeed(build(environment, &scratch, &[]).env("BAKE_CONFIG", scratch.at("config.toml")))?;
    equal(&finished.stderr.matches("steps share the network of this machine").count(), &1, "notices")?;
    check(finished.stderr.contains(GREETING), || finished.stderr.clone())?;
    // A step that wants nothing else needs no notice.
    let finished =
        succeed(build(environment, &scratch, &["--network=host"]).env("BAKE_CONFIG", scratch.at("config.toml")))?;
    check(!finished.stderr.contains("steps share"), || finished.stderr.clone())
}

fn demanded(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("config.toml", "[network]\nrequire-isolation = true\npasta = \"/nowhere/pasta\"\n")?;
    dockerfile(&scratch, "RUN true")?;
    let finished = finish(build(environment, &scratch, &[]).env("BAKE_CONFIG", scratch.at("config.toml")))?;
    expect_failure(&finished, 1, &["steps cannot have a network of their own", "`passt`", "--network=none"])?;
    succeed(build(environment, &scratch, &["--network=none"]).env("BAKE_CONFIG", scratch.at("config.toml"))).map(drop)
}

fn rootless(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let server = Server::on(Ipv4Addr::LOCALHOST.into())?;
    let outside = Server::on(own_address()?)?;
    dockerfile(&scratch, &format!("RUN {}; {}; {SOCKETS}", ask(server.address), ask(outside.address)))?;
    let bake = scratch.at("bake");
    fs::copy(&environment.bake, &bake).map_err(|error| error.to_string())?;
    scratch.write("config.toml", "[network]\nrequire-isolation = true\n")?;
    open_to_everybody(&scratch)?;
    let store = scratch.path().join("user");
    fs::create_dir(&store).map_err(|error| error.to_string())?;
    std::os::unix::fs::chown(&store, Some(65534), Some(65534)).map_err(|error| error.to_string())?;
    // Where this machine keeps the device for root, the user gets one like everywhere else.
    let script = "mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 && \
        exec setpriv --reuid=65534 --regid=65534 --clear-groups -- \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh", &bake, "--root"]).arg(&store);
    command.args(["build", "--progress", "plain"]).args(environment.base_flags()).arg(scratch.at("context"));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("BAKE_CONFIG", scratch.at("config.toml"));
    let finished = succeed(&mut command)?;
    let greetings = finished.stderr.lines().filter(|line| line.ends_with(GREETING)).count();
    equal(&greetings, &1, "greetings").map_err(|problem| format!("{problem}\n{}", finished.stderr))?;
    let own = fs::read_link("/proc/self/ns/net").map_err(|error| error.to_string())?.display().to_string();
    check(!finished.stderr.contains(&own), || finished.stderr.clone())
}

/// A server that answers every question for an address with 192.0.2.99.
fn name_server() -> Result<(UdpSocket, SocketAddr), String> {
    let socket = UdpSocket::bind("127.0.0.53:53").map_err(|error| error.to_string())?;
    let address = socket.local_addr().map_err(|error| error.to_string())?;
    Ok((socket, address))
}

fn answer(question: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    let is_v4 = question.len() > 4 && question[question.len() - 4..] == [0, 1, 0, 1];
    answer[2] = 0x81;
    answer[3] = 0x80;
    if is_v4 {
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 99]);
    }
    answer
}

fn local_resolver(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let (socket, _) = name_server()?;
    std::thread::spawn(move || {
        let mut question = [0_u8; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let _ = socket.send_to(&answer(&question[..length]), from);
        }
    });
    scratch.write("resolv.conf", "nameserver 127.0.0.53\nsearch example.test\noptions ndots:1\n")?;
    dockerfile(&scratch, "RUN cat /etc/resolv.conf; nslookup known.example.test")?;
    let script = format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", scratch.at("resolv.conf"));
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(&environment.bake).arg("--root").arg(scratch.store());
    command.args(["build", "--progress", "plain"]).args(environment.base_flags()).arg(scratch.at("context"));
    let finished = succeed(&mut command)?;
    for wanted in ["search example.test", "options ndots:1", "192.0.2.99"] {
        check(finished.stderr.contains(wanted), || format!("no `{wanted}` in {}", finished.stderr))?;
    }
    check(!finished.stderr.contains("nameserver 127"), || finished.stderr.clone())
}

/// A port that nobody listens on now.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

fn publish(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    dockerfile(&scratch, "CMD while true; do nc -l -p 80 -e echo served; done")?;
    succeed(build(environment, &scratch, &["--tag", "served"]).arg("--quiet"))?;
    let port = free_port()?;
    let mut command = environment.command(&scratch.store());
    command.args(["run", "-p", &format!("127.0.0.1:{port}:80"), "--hostname", "box", "served"]);
    let running = program::start(&mut command).map_err(|error| error.to_string())?;
    let mut said = String::new();
    wait_until("an answer", || {
        let Ok(mut client) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        let _ = client.set_read_timeout(Some(Duration::from_secs(5)));
        let mut bytes = [0_u8; 64];
        // A server that ends at once may end the connection roughly after its answer.
        let length = client.read(&mut bytes).unwrap_or(0);
        said = String::from_utf8_lossy(&bytes[..length]).into_owned();
        !said.is_empty()
    })?;
    equal(&said.trim(), &"served", "what the port says")?;
    let id = i32::try_from(running.id()).ok().and_then(Pid::from_raw).ok_or("a process has an ID")?;
    kill_process(id, Signal::TERM).map_err(|error| error.to_string())?;
    let finished = running.wait(PATIENCE).map_err(|error| error.to_string())?;
    equal(&finished.code, &Some(143), "exit code").map_err(|problem| format!("{problem}\n{}", finished.stderr))?;
    check(TcpStream::connect(("127.0.0.1", port)).is_err(), || "the port is still open".to_owned())
}

fn no_ports(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    dockerfile(&scratch, "CMD [\"true\"]")?;
    succeed(build(environment, &scratch, &["--tag", "image"]).arg("--quiet"))?;
    let run = |flags: &[&str]| {
        let mut command = environment.command(&scratch.store());
        command.arg("run").args(flags).arg("image");
        command
    };
    for network in ["none", "host"] {
        let finished = finish(&mut run(&["--network", network, "-p", "8080:80"]))?;
        expect_failure(&finished, 2, &["cannot be published", &format!("--network={network}")])?;
    }
    expect_failure(&finish(&mut run(&["-p", "80"]))?, 2, &["cannot be published", "8080:80"])?;
    scratch.write("config.toml", "[network]\npasta = \"/nowhere/pasta\"\n")?;
    let finished = finish(run(&["-p", "8080:80"]).env("BAKE_CONFIG", scratch.at("config.toml")))?;
    expect_failure(&finished, 125, &["no network of its own", "`passt`"])
}

fn names(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    dockerfile(&scratch, "RUN cat /etc/hosts > /seen\nCMD [\"cat\", \"/etc/hosts\"]")?;
    let tar = format!("type=tar,dest={}", scratch.at("files.tar"));
    succeed(&mut build(environment, &scratch, &["--add-host", "db:192.0.2.7", "--output", &tar]))?;
    let listed = succeed(Command::new("tar").args(["-tf", &scratch.at("files.tar")]))?.text();
    check(listed.contains("seen") && !listed.contains("etc/hosts") && !listed.contains("resolv.conf"), || {
        listed.clone()
    })?;
    succeed(build(environment, &scratch, &["--tag", "names"]).arg("--quiet"))?;
    let mut command = environment.command(&scratch.store());
    command.args(["run", "--add-host", "other:192.0.2.8", "--hostname", "box", "names"]);
    let said = succeed(&mut command)?.text();
    check(said.contains("192.0.2.8\tother") && said.contains("localhost box"), || said.clone())
}
