FROM fedora:42
RUN <<EOF
dnf install -y nginx
dnf clean all
EOF
RUN <<-'EOF'
	set -o errexit -o nounset
	echo one
	echo two | grep -q t
EOF
RUN bash -euo pipefail <<'SH'
curl -fsSL https://example.com/x | tar -xz --strip-components=1 -C /opt
SH
RUN <<FILE1 cat > /a && <<FILE2 cat > /b
one
FILE1
two
FILE2
USER nginx
