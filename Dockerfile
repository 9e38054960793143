# One image for every role; ROLE selects. Node runs the TypeScript sources as they are, so nothing is built.
# Its migrations:  docker run … <image> node src/commands/migrate.ts <role>|all [up|down|status]
# The base needs Node 24 in its PATH, and npm for the first stage; any account but root runs it.
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
COPY docs/openapi.json ./docs/openapi.json

# By number, so that Kubernetes can see that it is not root, and so that the base image need not know a name.
USER 1000:1000
# No EXPOSE and no HEALTHCHECK: the port depends on ROLE, and whoever starts the container knows it. Probe /readyz there.
CMD ["node", "src/main.ts"]
