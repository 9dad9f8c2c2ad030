// An MCP client that others wrote, in each way that it chooses a revision of the
// protocol. It prints what it got, a JSON text for each way.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const [url, token] = process.argv.slice(-2);
for (const mode of ['legacy', 'auto', { pin: '2026-07-28' }]) {
  const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { Authorization: token } } }));
  const list = await client.listTools();
  const call = await client.callTool({ name: 'get_customer', arguments: { customer_id: 'C-1001' } });
  const refused = await client.callTool({ name: 'get_customer', arguments: {} });
  const told = [];
  const agent = await client.callTool({ name: 'agent-support', arguments: { input: 'hello' } }, { onprogress: (p) => told.push(p.message) });
  console.log(JSON.stringify({
    revision: client.getNegotiatedProtocolVersion(), tools: list.tools.map((t) => t.name), customer: call.structuredContent.customer_id,
    refused: refused.isError, agent: agent.structuredContent.output, told,
  }));
  await client.close();
}
