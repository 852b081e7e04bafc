# docker build -f deploy/frontend.Dockerfile -t better-tasks-frontend frontend
FROM node:24-trixie-slim AS build
ENV NEXT_TELEMETRY_DISABLED=1
WORKDIR /app
# Packages first, because they change less often than the code.
COPY package.json package-lock.json ./
COPY client/package.json client/
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit --no-fund
COPY . .
# Better Auth wants a secret to be loaded with. Nothing of it is kept: the app reads its settings when it starts.
RUN BETTER_AUTH_SECRET=of-the-build-alone-and-of-nothing-that-runs npm run build

FROM node:24-trixie-slim
WORKDIR /app
COPY --from=build /app/.next/standalone ./
ENV NODE_ENV=production NEXT_TELEMETRY_DISABLED=1 HOSTNAME=0.0.0.0 PORT=3000
USER node
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/api/auth/ok`).then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "server.js"]
