# Every system call, with arguments that mean nothing, in a process of its own; and the socket families that must not open.
my $x32 = 0x40000000;

# The error number; -1 for success, -2 for a signal.
sub answer {
    my ($number) = @_;
    my $child = fork();
    if ($child == 0) {
        open(STDOUT, ">", "/dev/null");
        alarm(1);
        $! = 0;
        my $result = syscall($number, -1, -1, -1, -1, -1, -1);
        kill(9, $$) if $result != -1;
        exit($! + 0);
    }
    waitpid($child, 0);
    return $? & 127 ? -2 : $? >> 8;
}

# The ranges of the numbers that are answered with an error number.
sub show {
    my ($name, $errno, $first, $last, $base) = @_;
    my (@ranges, $begin);
    for my $number ($first .. $last + 1) {
        my $is = $number <= $last && answer($base + $number) == $errno;
        if ($is) { $begin = $number unless defined $begin; next; }
        next unless defined $begin;
        push @ranges, $begin == $number - 1 ? $begin : "$begin-" . ($number - 1);
        undef $begin;
    }
    print "$name: @ranges\n";
}

# Up to the calls that every kernel this runs on has.
show("EPERM", 1, 0, 450, 0);
show("ENOSYS", 38, 0, 450, 0);
show("ENOSYS", 38, 467, 600, 0);
show("x32 ENOSYS", 38, 0, 600, $x32);
for my $family (12, 17, 19, 20, 23, 25, 34, 37, 38, 40, 46 .. 63) {
    for my $type (1, 2, 3, 5) {
        print "socket family $family opens\n" if socket(my $socket, $family, $type, 0);
    }
}
print "audit socket opens\n" if socket(my $audit, 16, 3, 9);
