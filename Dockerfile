# One image for all workers; the command says which. See docs/production.md.
FROM node:22.21.1-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY . .
RUN npm run build && npm prune --omit=dev

FROM node:22.21.1-bookworm-slim
# The control worker promotes with git; the SDK verifies TLS with the certificates of the system.
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates git \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# A volume takes its owner from what the image has in its place.
RUN install -d -o node -g node -m 0750 /var/lib/edge /var/lib/edge/objects /var/lib/edge/store
USER node
