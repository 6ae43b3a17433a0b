FROM debian:11
RUN apt-get update && apt-get upgrade -y && apt-get install -y supervisor openssh-server nginx sudo wget
RUN mkdir -p /var/run/sshd /var/log/supervisor
RUN echo 'root:screencast' | chpasswd
RUN sed -i 's/#*PermitRootLogin prohibit-password/PermitRootLogin yes/g' /etc/ssh/sshd_config
RUN wget --no-check-certificate https://example.com/agent.deb -O agent.deb && dpkg -i agent.deb
RUN sudo service nginx start
RUN cd /etc/nginx
RUN chmod -R 777 /var/www
COPY supervisord.conf /etc/supervisor/conf.d/supervisord.conf
EXPOSE 22 80 70000
CMD /usr/bin/supervisord
CMD ["/usr/bin/supervisord"]
