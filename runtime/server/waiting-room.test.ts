import fc from 'fast-check';
import { expect, test } from 'vitest';
import { WaitingRoom } from './waiting-room.ts';

const never = new AbortController().signal;
const soon = (ms: number): number => performance.now() + ms;

test('as many as the capacity go straight in, the next wait in order, and one more is refused', async () => {
  const room = new WaitingRoom();
  const size = { capacity: 2, maxWaiting: 2 };
  expect(room.enter(size, never, soon(60_000))).toBeUndefined();
  expect(room.enter(size, never, soon(60_000))).toBeUndefined();
  const order: string[] = [];
  const first = room.enter(size, never, soon(60_000))?.then(() => order.push('first'));
  const second = room.enter(size, never, soon(60_000))?.then(() => order.push('second'));
  expect(() => room.enter(size, never, soon(60_000))).toThrow(
    expect.objectContaining({ code: 'server-busy', status: 503 }),
  );
  room.leave();
  await first;
  room.leave();
  await second;
  expect(order).toEqual(['first', 'second']);
  expect(room.taken).toBe(2);
});

test('a waiting client that leaves frees its place on the bench and takes none at the model', async () => {
  const room = new WaitingRoom();
  const size = { capacity: 1, maxWaiting: 1 };
  expect(room.enter(size, never, soon(60_000))).toBeUndefined();
  const client = new AbortController();
  const waiting = room.enter(size, client.signal, soon(60_000));
  client.abort();
  await expect(waiting).rejects.toMatchObject({ code: 'client-closed' });
  expect(room.waiting).toBe(0);
  room.leave();
  expect(room.taken).toBe(0);
});

test('whose request timeout passes while waiting is told so', async () => {
  const room = new WaitingRoom();
  const size = { capacity: 1, maxWaiting: 1 };
  expect(room.enter(size, never, soon(60_000))).toBeUndefined();
  await expect(room.enter(size, never, soon(5))).rejects.toMatchObject({
    code: 'inference-timeout',
    status: 504,
  });
  expect(room.waiting).toBe(0);
});

test('a deadline beyond what a timer takes does not pass at once', async () => {
  const room = new WaitingRoom();
  const size = { capacity: 1, maxWaiting: 1 };
  expect(room.enter(size, never, soon(60_000))).toBeUndefined();
  const waiting = room.enter(size, never, soon(2 ** 40));
  await new Promise((resolve) => setTimeout(resolve, 10));
  expect(room.waiting).toBe(1);
  room.leave();
  await waiting;
});

test('never more than the capacity are at the model, nobody is forgotten, all leave', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.constantFrom('enter', 'leave', 'abort'), { maxLength: 60 }),
      async (capacity, steps) => {
        const room = new WaitingRoom();
        const size = { capacity, maxWaiting: 5 };
        let inside = 0;
        const clients: AbortController[] = [];
        const enter = (): void => {
          const client = new AbortController();
          try {
            const waiting = room.enter(size, client.signal, performance.now() + 60_000);
            if (waiting === undefined) inside += 1;
            else {
              clients.push(client);
              waiting.then(
                () => {
                  inside += 1;
                },
                () => undefined,
              );
            }
          } catch {
            expect(room.waiting).toBe(5);
          }
        };
        for (const step of steps) {
          if (step === 'enter') enter();
          else if (step === 'abort') clients.pop()?.abort();
          else if (inside > 0) {
            inside -= 1;
            room.leave();
          }
          await Promise.resolve();
          expect(room.taken).toBeLessThanOrEqual(capacity);
          expect(room.waiting === 0 || room.taken === capacity).toBe(true);
        }
        while (room.taken > 0) {
          room.leave();
          await Promise.resolve();
        }
        expect(room.waiting).toBe(0);
      },
    ),
  );
});
