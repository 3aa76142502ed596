import { expect, test } from 'vitest';
import { serviceRoute } from './testing/control-server.ts';
import { useFixture } from './testing/fixture.ts';
import { bodyOf, call } from './testing/replica.ts';

const fixture = useFixture();

test('a request to a cold service waits, is reported at once, and is answered by the replica that comes', async () => {
  fixture.control.put(serviceRoute([]));
  const { port } = await fixture.start();
  const cold = call(port, { headers: { host: 'ocr.demo:8080' }, method: 'POST', body: 'picture' });
  const report = await fixture.control.report((one) => one.revisions.some(({ queued }) => queued === 1));
  expect(report.revisions).toMatchObject([
    { serviceUid: 'uid-ocr', revision: 'ocr-1', requests: 1, inFlight: 0 },
  ]);
  const { address } = await fixture.replica((request, response) => {
    void bodyOf(request).then((body) => response.end(`read ${body.toString()} at ${request.url}`));
  });
  fixture.control.put(serviceRoute([address]));
  const answer = await cold.answer;
  expect(answer).toMatchObject({ status: 200, body: 'read picture at /' });
  expect(answer.headers['server-timing']).toMatch(
    /^queue;dur=[\d.]+, start;dur=[\d.]+, upstream;dur=[\d.]+$/,
  );
  const told = await fixture.control.report((one) => one.coldAnswers.length > 0);
  expect(told.coldAnswers).toMatchObject([{ serviceUid: 'uid-ocr', revision: 'ocr-1' }]);
  await fixture.control.report((one) =>
    one.revisions.some(({ queued, inFlight, requests }) => requests === 1 && queued + inFlight === 0),
  );
});
