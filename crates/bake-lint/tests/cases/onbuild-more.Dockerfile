FROM maven:3-eclipse-temurin-21
ONBUILD ARG MAVEN_ARGS=""
ONBUILD ADD pom.xml /usr/src/app/
ONBUILD RUN cd /usr/src/app && mvn $MAVEN_ARGS dependency:resolve
ONBUILD ADD . /usr/src/app
ONBUILD RUN apt-get update && apt-get install make
ONBUILD CMD java -jar app.jar
