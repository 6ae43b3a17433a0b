FROM ruby:3.3-slim
RUN bundle config --global frozen 1
WORKDIR /usr/src/app
ONBUILD COPY Gemfile /usr/src/app/
ONBUILD COPY Gemfile.lock /usr/src/app/
ONBUILD RUN bundle install
ONBUILD COPY . /usr/src/app
ONBUILD ARG REVISION
ONBUILD ENV REVISION=$REVISION
ONBUILD USER 1000
