-- Where the manager finds the app-proxy of the sessions of a resource group. The columns have kept an older name.
\set ON_ERROR_STOP on
UPDATE scaling_groups
   SET wsproxy_addr = 'http://127.0.0.1:${COORDINATOR_PORT}', wsproxy_api_token = '${APPPROXY_API_SECRET}'
 WHERE name = 'default';
