FROM centos:7
ENV container docker
RUN (cd /lib/systemd/system/sysinit.target.wants/; for i in *; do [ $i == systemd-tmpfiles-setup.service ] || rm -f $i; done); \
rm -f /lib/systemd/system/multi-user.target.wants/*;\
rm -f /etc/systemd/system/*.wants/*;
RUN yum install -y epel-release
RUN yum install -y nginx; yum clean all
RUN yum -y install https://rpm.example.org/agent-1.2.rpm
VOLUME [ "/sys/fs/cgroup" ]
CMD ["/usr/sbin/init"]
