FROM registry.access.redhat.com/ubi9/ubi-minimal:9.4
LABEL name="acme/gateway" \
      vendor="Acme" \
      summary="Gateway"
RUN microdnf install -y --nodocs java-17-openjdk-headless shadow-utils && microdnf clean all \
    && useradd -u 1001 -r -g 0 -d /opt/gateway -s /sbin/nologin gateway
COPY --chown=1001:0 target/gateway.jar /opt/gateway/
RUN chmod -R g=u /opt/gateway
USER 1001
CMD ["java", "-jar", "/opt/gateway/gateway.jar"]
