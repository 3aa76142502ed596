import { expect, test } from 'vitest';
import { PilotlightError } from '../../contracts/errors.ts';
import type { Claim, RuntimePhase } from '../ports.ts';
import { type Addressee, admit } from './admission.ts';
import { sumModel } from './plain-engine.ts';

const model = sumModel();
const claim: Claim = {
  claimId: 'c',
  epoch: 1,
  serviceUid: 'uid-1',
  revision: 'iris-00002',
  service: { namespace: 'demo', name: 'iris' },
};
const direct: Addressee = {
  modelName: 'sum',
  version: undefined,
  serviceUid: undefined,
  revision: undefined,
  host: undefined,
};
const proxied: Addressee = { ...direct, serviceUid: 'uid-1', revision: 'iris-00002' };

function refusal(phase: RuntimePhase, addressee: Addressee): PilotlightError {
  try {
    admit(phase, addressee);
  } catch (error) {
    if (error instanceof PilotlightError) return error;
    throw error;
  }
  throw new Error('expected a refusal');
}

test('a ready runtime takes what names its model, with or without the version that it has', () => {
  expect(admit({ phase: 'ready', model, claim: undefined }, direct)).toBe(model);
  expect(admit({ phase: 'ready', model, claim: undefined }, { ...direct, version: '3' })).toBe(model);
  expect(admit({ phase: 'ready', model, claim }, proxied)).toBe(model);
});

test('another model or version is unknown, and the answer tells what there is', () => {
  const phase: RuntimePhase = { phase: 'ready', model, claim: undefined };
  expect(refusal(phase, { ...direct, modelName: 'summ' })).toMatchObject({
    status: 404,
    code: 'unknown-model',
    message: "unknown model 'summ'; this server has 'sum'",
  });
  expect(refusal(phase, { ...direct, version: '1' })).toMatchObject({ code: 'unknown-model' });
});

test('a runtime that has no model yet says so, and when to try again', () => {
  expect(refusal({ phase: 'standby' }, direct)).toMatchObject({
    status: 503,
    code: 'not-ready',
    retryAfterSeconds: 1,
  });
  expect(refusal({ phase: 'specialising', modelName: 'sum', claim }, proxied)).toMatchObject({
    code: 'not-ready',
    message: "model 'sum' is being loaded",
  });
});

test('a failed load is told with its cause, and trying again soon is not suggested', () => {
  const error = new PilotlightError('model-not-onnx', 'the file begins with <html');
  expect(refusal({ phase: 'failed', modelName: 'sum', claim, error }, proxied)).toMatchObject({
    status: 503,
    code: 'load-failed',
    message: "model 'sum' failed to load: the file begins with <html (model-not-onnx)",
    retryAfterSeconds: undefined,
  });
});

test('a draining runtime refuses new work', () => {
  expect(refusal({ phase: 'draining', model, claim }, proxied)).toMatchObject({
    status: 503,
    code: 'draining',
  });
});

test('what is meant for another service or revision is sent elsewhere in every phase that holds a claim', () => {
  const phases: RuntimePhase[] = [
    { phase: 'specialising', modelName: 'sum', claim },
    { phase: 'ready', model, claim },
    { phase: 'draining', model, claim },
    { phase: 'failed', modelName: 'sum', claim, error: new PilotlightError('internal', 'x') },
  ];
  for (const phase of phases) {
    expect(refusal(phase, { ...proxied, serviceUid: 'uid-2' })).toMatchObject({
      status: 421,
      code: 'wrong-service',
    });
    expect(refusal(phase, { ...proxied, revision: 'iris-00001' })).toMatchObject({ status: 421 });
  }
});

test('a standby holds no service, so what is meant for one is not for it', () => {
  expect(refusal({ phase: 'standby' }, proxied)).toMatchObject({ status: 421, code: 'wrong-service' });
});

test('a runtime without a claim serves anybody, whatever the headers say', () => {
  expect(admit({ phase: 'ready', model, claim: undefined }, { ...proxied, serviceUid: 'uid-9' })).toBe(model);
});

test('a direct request that names another service of the namespace by its host is not for this one', () => {
  const ready: RuntimePhase = { phase: 'ready', model, claim };
  const others = [
    'other.demo',
    'other.demo.svc',
    'Other.Demo.svc.cluster.local:80',
    'other.demo.models.example',
  ];
  for (const host of others) expect(refusal(ready, { ...direct, host }).code).toBe('wrong-service');
  const own = ['iris.demo', 'iris.demo.svc.cluster.local', 'IRIS.demo:8080', 'iris.demo.models.example'];
  for (const host of own) expect(admit(ready, { ...direct, host })).toBe(model);
});

test('a host that is no name of ours is anybody’s: an Ingress, an address, a port that was forwarded', () => {
  const ready: RuntimePhase = { phase: 'ready', model, claim };
  for (const host of ['models.example.com', '10.0.0.7:8080', '[fd00::7]:8080', 'localhost', '']) {
    expect(admit(ready, { ...direct, host })).toBe(model);
  }
  // Through an activator the headers say whom it is for, whatever host the caller used.
  expect(admit(ready, { ...proxied, host: 'other.demo' })).toBe(model);
});
