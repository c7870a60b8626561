# Memory Tracker's images; script/image builds and names them. Nothing here needs BuildKit, and the
# stages stand in an order in which the builder before it, which makes all that come before its
# target, makes nothing in vain.
#
#   api, sampler            SQLite; the sampler also pushes to an API elsewhere (https://)
#   api-full, sampler-full  every kind of store, with MongoDB's libraries
#   all-in-one              sampler and API beside one SQLite history in one container
#   test                    the unit tests, of the code that the others carry
#
# The same inputs give the same files: BASE_IMAGE by its digest, APT_SNAPSHOT for the packages and
# SOURCE_DATE_EPOCH for the times.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS packages
# the URL of Debian's archive as it was at some time; without it, the archives of the base image
ARG APT_SNAPSHOT=
COPY script/packages.sh /source/script/
COPY docker/install-packages /source/docker/
RUN ["/source/docker/install-packages", "build_packages", "image_packages"]

# no network from here on
FROM packages AS build
WORKDIR /source
COPY CMakeLists.txt CMakePresets.json LICENSE ./
COPY cmake cmake
COPY docs/CMakeLists.txt docs/
COPY docs/man docs/man
COPY docs/completion docs/completion
COPY cron cron
COPY memory_tracker memory_tracker
RUN cmake --preset release -DCMAKE_INSTALL_PREFIX=/usr && \
    cmake --build --preset release && \
    DESTDIR=/installed cmake --install build/release --strip

# every image's whole root below /root-of, with nothing but what runs there
FROM build AS collected
COPY docker/collect docker/healthy docker/sample docker/sbom docker/start docker/
# seconds since 1970, for the files' times and the SBOM's
ARG SOURCE_DATE_EPOCH=0
ARG VERSION=0.1.0
RUN ["docker/collect"]

FROM scratch AS labelled
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE_URL=
LABEL org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE_URL}"
ENV PATH=/usr/bin:/usr/sbin
STOPSIGNAL SIGTERM

FROM labelled AS api
LABEL org.opencontainers.image.title="memory_tracker-api" \
      org.opencontainers.image.description="Memory Tracker: answers questions about the memory history over HTTP"
COPY --from=collected /root-of/api/ /
# by itself, since what is copied belongs to root otherwise; a fresh volume takes the owner over
COPY --from=collected --chown=65532:65532 /root-of/empty/ /var/lib/memory-tracker/
ENV MEMORY_TRACKER_LISTEN=0.0.0.0:8000
USER 65532:65532
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD ["memory-api", "--health-check"]
ENTRYPOINT ["memory-api"]

# As root, which is what cron needs to become the user of its jobs, and with no capability but
# SETUID and SETGID; the sampler itself is never root. Its health is looked at for more than a minute,
# since a clock that was set makes the last record look old until the next one.
FROM labelled AS sampler
LABEL org.opencontainers.image.title="memory_tracker-sampler" \
      org.opencontainers.image.description="Memory Tracker: writes down each minute what a node's memory looks like"
COPY --from=collected /root-of/sampler/ /
COPY --from=collected --chown=65532:65532 /root-of/empty/ /var/lib/memory-tracker/
ENV MEMORY_TRACKER_HEALTH_FILE=/run/memory-tracker/healthy
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=15 CMD ["memory-sampler", "--health-check"]
ENTRYPOINT ["tini", "--", "/usr/lib/memory-tracker/start", "sampler"]

FROM api AS api-full
COPY --from=collected /root-of/api-full/ /

FROM sampler AS sampler-full
COPY --from=collected /root-of/sampler-full/ /

FROM labelled AS all-in-one
LABEL org.opencontainers.image.title="memory_tracker-all-in-one" \
      org.opencontainers.image.description="Memory Tracker: sampler, history and API in one container"
COPY --from=collected /root-of/all-in-one/ /
COPY --from=collected --chown=65532:65532 /root-of/empty/ /var/lib/memory-tracker/
ENV MEMORY_TRACKER_LISTEN=0.0.0.0:8000 \
    MEMORY_TRACKER_HEALTH_FILE=/run/memory-tracker/healthy
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=15 CMD ["/usr/lib/memory-tracker/healthy"]
ENTRYPOINT ["tini", "--", "/usr/lib/memory-tracker/start", "all-in-one"]

FROM packages AS test
ARG APT_SNAPSHOT=
RUN ["/source/docker/install-packages", "unit_packages"]
COPY --from=build /source /source
COPY tests /source/tests
WORKDIR /source
RUN cmake --preset release -DMT_TESTS=ON && \
    cmake --build --preset release --target mt_unit_tests && \
    ctest --test-dir build/release -L '^unit$' --output-on-failure --no-tests=error
