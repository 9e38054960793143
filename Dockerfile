# One image for every role; ROLE selects. Node runs the TypeScript sources as they are, so nothing is built.
ARG BASE_IMAGE=node:24-slim

FROM ${BASE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# Left out: tools (among them the npm package `node`: the base image brings its own) and the embedded Postgres.
RUN npm ci --omit=dev --omit=optional

FROM ${BASE_IMAGE}
WORKDIR /app
ENV NODE_ENV=production
COPY package.json package-lock.json ./
COPY --from=dependencies /app/node_modules ./node_modules
COPY kysely.config.ts ./
COPY migrations ./migrations
COPY gen ./gen
COPY src ./src

# By number, so that Kubernetes can see that it is not root, and so that the base image need not know a name.
USER 1000:1000
EXPOSE 8080 8081 8082 8083
# No HEALTHCHECK: the port depends on ROLE, and whoever starts the container knows it. Probe /livez there.
CMD ["node", "src/main.ts"]
