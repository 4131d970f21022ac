// The GraphQL gateway: one endpoint before the manager's two schemas. It runs in a container, the manager on the host.
import { defineConfig, type GatewayPlugin } from '@graphql-hive/gateway';

const manager = 'http://host.docker.internal:${MANAGER_PORT}/admin/gql';
const token = 'x-backendai-token';

// A subscription's WebSocket lives longer than a request: each operation on it carries the caller's token.
const forwardToken: GatewayPlugin = {
  onSubgraphExecute({ executor, setExecutor }) {
    setExecutor((request: any) => {
      const value = request.context?.headers?.[token];
      return executor({ ...request, extensions: { headers: value ? { [token]: value } : {} } });
    });
  },
};

export const gatewayConfig = defineConfig({
  supergraph: '/gateway/schema/supergraph.graphql',
  graphqlEndpoint: '/admin/gql',
  maskedErrors: false,
  plugins: () => [forwardToken],
  propagateHeaders: {
    fromClientToSubgraphs({ context }: any) {
      const { 'content-length': _, ...headers } = context.headers ?? {};
      return headers;
    },
  },
  transportEntries: {
    GRAPHENE: { location: manager },
    STRAWBERRY: { location: manager + '/strawberry' },
    '*.http': {
      options: { subscriptions: { kind: 'ws', headers: [[token, '{context.headers.' + token + '}']] } },
    },
  },
});
