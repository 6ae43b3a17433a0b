//! The commands of the steps: every way of looking at files that shells, and the programs of busybox, have.
//!
//! What a command writes is part of the layer that is compared, so none shows times, inode numbers or anything random, and what
//! comes in the order of a directory is sorted. The errors of `sed -i` show the names of temporary files, those of `cp -a` which of several names of a file came first.

/// What of a command is to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// What it shows is the same on every file system.
    Files,
    /// It shows sizes of directories or blocks, which file systems choose: it is compared only with itself under the same mount.
    FileSystem,
}

use Shows::{FileSystem, Files};

/// A command, run in the directory with the copied files.
#[derive(Debug)]
pub(super) struct Command {
    /// What it shows.
    pub(super) shows: Shows,
    /// Text for the shell.
    pub(super) text: &'static str,
}

const fn files(text: &'static str) -> Command {
    Command { shows: Files, text }
}

const fn file_system(text: &'static str) -> Command {
    Command { shows: FileSystem, text }
}

/// Those that the base image `busybox` has everything for.
pub(super) const OF_BUSYBOX: &[Command] = &[
    // Content.
    files("cat a.txt"),
    files("cat data/*.txt"),
    files("cat .hidden data/.quiet"),
    files("wc words.txt data/*.txt"),
    files("head -n 2 words.txt"),
    files("head -c 10 large/1.bin | od -c"),
    files("tail -c 20 large/2.bin"),
    files("dd if=large/3.bin bs=4096 skip=5 count=1 2>/dev/null | md5sum"),
    files("md5sum data/* large/0.bin"),
    files("sha256sum < large/4.bin"),
    files("sort words.txt | head -n 3"),
    files("cut -d' ' -f2 words.txt | tail -n 3"),
    files("tr a-z A-Z < a.txt"),
    files("base64 data/three.txt"),
    files("sed -n -f change.sed -e 1,5p words.txt"),
    files("awk -f sum.awk words.txt"),
    files("diff a.txt b.txt"),
    files("cmp data/one.txt data/two.txt"),
    files("exec 3< words.txt; read first <&3; read second <&3; echo \"$second\""),
    files("while read name; do if [ -f \"$name\" ]; then echo \"$name\"; fi; done < list.txt"),
    files("cat list.txt | xargs cat"),
    files("cat list.txt | xargs -n 1 ls -d"),
    // Listings.
    files("ls"),
    files("ls -A data"),
    files("ls -R ."),
    files("ls -d data/deep/* gone"),
    files("echo *"),
    files("echo data/*/*/* .h*"),
    files(
        "for name in *; do if [ -d \"$name\" ]; then echo \"directory $name\"; elif [ -x \"$name\" ]; then echo \"program $name\"; fi; done",
    ),
    files("ls data; cat data/one.txt"),
    files("find . | sort"),
    files("find data -type d | sort"),
    files("find . -name '*.txt' -perm -044 | sort"),
    files("find . -type f -size +8 | sort"),
    files("find . -type l -exec readlink {} \\; | sort"),
    files("find . -maxdepth 2 -name '*.sh' -exec head -n 1 {} \\; | sort"),
    files("find / -xdev -maxdepth 3 ! -path '/proc*' ! -path '/sys*' ! -path '/dev*' | sort"),
    files("ls /usr/local/bin /usr/local /usr"),
    files("ls / /etc"),
    files("grep -r alpha . | sort"),
    files("grep -rl beta data | sort"),
    files("grep -c word1 words.txt; grep -s nothing missing.txt"),
    // Attributes.
    files("stat -c '%n %F %a %u %g %s' a.txt run.sh data/*.txt link 2>&1"),
    files("stat -c '%n %F %a %u %g' . data gone/x"),
    files("stat -L -c '%n %F %a %s' link up"),
    files("stat -c '%n %h' data/one.txt data/twin.txt a.txt"),
    files("ls -ln a.txt b.txt run.sh | awk '{ print $1, $2, $3, $4, $5, $9 }'"),
    files("find data -type f -links +1 | sort"),
    files("wc -c < large/5.bin"),
    file_system("stat -c '%n %F %s %b' . data data/one.txt"),
    file_system("du -a . | sort"),
    file_system("ls -lan data | awk '{ print $1, $2, $5, $9 }'"),
    // Questions.
    files("if [ -e missing.txt ]; then cat missing.txt; else echo none; fi"),
    files(
        "for name in a.txt data link dangling loop closed none; do for is in e f d L s r x p; do if test -$is $name; then echo \"$name $is\"; fi; done; done",
    ),
    files(
        "test a.txt -ef up && echo same; test data/one.txt -ef data/twin.txt && echo twins; test a.txt -ef b.txt || echo others",
    ),
    files(
        "for place in first second; do if [ -e $place/value.inc ]; then . ./$place/value.inc; break; fi; done; echo $VALUE",
    ),
    files("cat first/one.h inc1/one.h inc2/one.h 2>/dev/null | head -n 1"),
    files("command -v cat greet plain absent ls"),
    files("for other in b c d; do test data/pair-a -ef data/pair-$other && echo \"a is $other\"; done"),
    files("find data -samefile data/pair-a | sort; stat -c '%n %h' data/pair-*"),
    files("test -x plain || test -x /usr/local/bin/plain && echo yes"),
    files("[ -s data/empty.txt ] || echo empty; [ -s data/one.txt ] && echo full"),
    files("ls no-such-file; cat data/none; echo $?"),
    files("[ \"$(ls -A hollow/in 2>/dev/null)\" ] && echo something"),
    files("find . -type f -empty | sort"),
    // Programs, and what they read.
    files("./run.sh world"),
    files("sh run.sh world"),
    files(". ./lib.sh; hello again"),
    files(". ./settings.env; echo \"$A $B\""),
    files("greet"),
    files("absent"),
    files("plain"),
    files("./box echo in a box"),
    files("cp /bin/busybox tool && ./tool cat a.txt && rm tool"),
    files("./gone/link-me"),
    files("cat a.txt | ( cat; cat b.txt ) | grep -v alpha"),
    files("sh -c 'cat \"$0\"' data/two.txt"),
    files("PATH=/src/gone:$PATH link-me; PATH=/nothing:$PATH ls data"),
    // Users.
    files("id app; id -un; eval echo ~app ~root"),
    files("grep app /etc/passwd /etc/group"),
    files("chown app:app a.txt"),
    // Links.
    files("readlink link dangling loop"),
    files("readlink -f directory-link/deep/x up absolute"),
    files("cat link up directory-link/two.txt; cat dangling loop"),
    files("cd directory-link && pwd -P && ls && cat ../a.txt"),
    files("ls absolute/"),
    files("ln -s data/one.txt new-link; cat new-link"),
    files("ln -sf b.txt link; cat link"),
    file_system("ln a.txt hard.txt; ls -i a.txt hard.txt | awk '{ print $1 }' | sort -u | wc -l"),
    files("ln data/one.txt hard.txt; echo more >> hard.txt; cat data/one.txt data/twin.txt"),
    files("cp -a data/pair-* /tmp; stat -c '%n %h' /tmp/pair-*; test /tmp/pair-a -ef /tmp/pair-b && echo together"),
    files("echo more >> data/pair-a; cat data/pair-*"),
    files("rm link directory-link; ls"),
    files("chmod 600 link; stat -c %a data/one.txt"),
    files("cp -P link dangling /tmp; cp -L link /tmp/file; readlink /tmp/link"),
    // Changes.
    files("rm -rf gone"),
    files("rm -rf data; mkdir data; ls -A data"),
    files("rm -r gone && mkdir gone && echo new > gone/new"),
    files("rm a.txt; mkdir a.txt; ls -d a.txt"),
    files("rm data/*.txt; ls -A data"),
    files("rmdir gone hollow/in; rm hollow/in/.keep; rmdir hollow/in hollow"),
    files("mv a.txt moved.txt"),
    files("mv data moved && ls moved"),
    files("mv data/deep/x data/; ls data/x data/deep"),
    files("mv -f b.txt a.txt; cat a.txt"),
    files("mv link moved-link; mv dangling data/"),
    files("cp a.txt copy.txt"),
    files("cp -r data copied"),
    files("cp -a . /tmp/all 2> /dev/null"),
    files("cp -r directory-link/. /tmp/linked"),
    files("cp data/*.txt /usr/local/lib/"),
    files("tar -cf - data gone | tar -xf - -C /tmp"),
    files("tar -cf /dev/null . && tar -cf - -T list.txt | tar -tf -"),
    files("chmod 700 run.sh"),
    files("chmod -R go-rwx data"),
    files("chmod u+s gone/link-me; chmod +t data"),
    files("chown -R 5:6 data"),
    files("chown -h 5:5 link; chown 7 directory-link"),
    files("sed -i s/alpha/omega/ a.txt 2> /dev/null"),
    files("sed -i -e 2d data/*.txt 2> /dev/null"),
    files("echo more >> a.txt; cat a.txt"),
    files(": > data/one.txt; wc -c data/one.txt data/twin.txt"),
    files("echo replaced > b.txt"),
    files("dd if=/dev/zero of=large/0.bin bs=1 seek=5000 count=3 conv=notrunc 2>/dev/null; md5sum large/0.bin"),
    files("touch data/new.txt a.txt"),
    files("touch -d @1600000000 data data/one.txt"),
    files("mkdir -p data/deep/x/new/directory gone/x"),
    files("mkdir fresh missing.txt; ls -d fresh missing.txt"),
    files("mkfifo data/pipe; mknod data/null c 1 3"),
    files(
        "echo '#!/bin/sh' > /usr/local/bin/made; echo 'echo made' >> /usr/local/bin/made; chmod +x /usr/local/bin/made; made",
    ),
    files("echo own > /etc/motd; echo x >> /etc/passwd"),
    files("rm -rf /usr/local/lib; ls /usr/local"),
    files("mv /usr/local/lib /usr/local/share; cat /usr/local/share/greeting"),
    files("find data -type f -exec rm {} \\; ; find data | sort"),
    files("find . -name '*.txt' -exec sed -i s/beta/BETA/ {} + 2> /dev/null"),
];

/// Those that take a C compiler and Python besides.
pub(super) const OF_TOOLS: &[Command] = &[
    files("gcc -E -P -Ifirst -Iinc1 -Iinc2 main.c"),
    files("gcc -E -M -iquote inc1 -iquote inc2 main.c"),
    files("gcc -c -Iinc1 -Iinc2 main.c && size main.o"),
    files("gcc -fsyntax-only -include inc1/three.h -Iinc2 main.c"),
    files("python3 -B -c 'import pack; print(pack.part.VALUE)'"),
    files(
        "python3 -B -c 'import importlib.util as u; print(u.find_spec(\"pack.part\") is None, u.find_spec(\"absent\") is None)'",
    ),
    files("python3 -B -c 'import os; print(sorted(e.name for e in os.scandir(\"data\") if e.is_file()))'"),
    files("python3 -B -c 'import os; print(sorted((d, len(f)) for d, _, f in os.walk(\".\")))'"),
    files(
        "python3 -B -c 'import mmap; f = open(\"large/1.bin\"); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); print(m[30000:30010])'",
    ),
    files(
        "python3 -B -c 'import os, mmap; f = os.open(\"large/2.bin\", os.O_RDONLY | os.O_DIRECT); b = mmap.mmap(-1, 4096); print(os.readv(f, [b]), b[:9])'",
    ),
    files(
        "python3 -B -c 'import os; print(os.path.samefile(\"a.txt\", \"up\"), os.path.realpath(\"directory-link/deep\"))'",
    ),
    files("python3 -B -c 'import glob; print(sorted(glob.glob(\"**/*.txt\", recursive=True)))'"),
    files(
        "python3 -B -c 'import os; print(os.listxattr(\"a.txt\"), os.access(\"run.sh\", os.X_OK), os.pathconf(\"data\", \"PC_NAME_MAX\"))'",
    ),
    files(
        "python3 -B -c 'import shutil; shutil.copytree(\"data\", \"/tmp/tree\", symlinks=True); shutil.rmtree(\"gone\")'",
    ),
    // Between file systems of two kinds the kernel copies no ranges.
    file_system(
        "python3 -B -c 'import os; f = os.open(\"large/3.bin\", os.O_RDONLY); o = os.open(\"/tmp/sent\", os.O_WRONLY | os.O_CREAT); print(os.sendfile(o, f, 0, 9000), os.copy_file_range(f, o, 5))'",
    ),
];
