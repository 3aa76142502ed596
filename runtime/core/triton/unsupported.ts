/**
 * Fields of Triton's ModelConfig that have a meaning here and are not carried out, by path: why, and what to do.
 * Fields: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
 */
const ADVICE: ReadonlyMap<string, string> = new Map([
  ['runtime', 'the library that runs a model is ONNX Runtime; remove it'],
  ['batch_input', 'inputs made by the batcher are not known; export a model without them'],
  ['batch_output', 'outputs cut by the batcher are not known; export a model without them'],
  [
    'optimization',
    'graphs are optimised as far as they can be, and where a model is computed the service says by executionProvider; remove it',
  ],
  [
    'sequence_batching',
    'requests of a sequence are not kept together; give the state to the model as inputs, and take it from its outputs',
  ],
  [
    'ensemble_scheduling',
    'a service has one model; join the models to one graph, or call them one after the other',
  ],
  [
    'model_warmup',
    'a model is warmed by its first request, or by a run on made-up input where nobody waits; remove it',
  ],
  ['metric_tags', 'metrics have labels of their own; remove it'],
  ['model_metrics', 'metrics have buckets of their own; remove it'],
  [
    'model_operations',
    'libraries of custom operators are not loaded; export the model with standard operators',
  ],
  [
    'model_repository_agents',
    'nothing is run on the files of a model; remove it, and verify them by #sha256= in the URI',
  ],
  ['response_cache', 'answers are not kept; remove it, and keep them in front of the service'],
  ['cc_model_filenames', 'there is one file for every device; remove it and use default_model_filename'],
  [
    'input.reshape',
    'tensors are given to the model as they come; export the model with the shape that clients send, and remove it',
  ],
  [
    'output.reshape',
    'tensors are answered as the model gives them; export the model with the shape that clients take, and remove it',
  ],
  [
    'dynamic_batching.priority_levels',
    'a request says its priority itself, by the parameter "priority"; remove it',
  ],
  [
    'dynamic_batching.default_priority_level',
    'a request says its priority itself, by the parameter "priority"; remove it',
  ],
  [
    'dynamic_batching.default_queue_policy',
    'queues are bounded by the service; remove it, and set spec.predictor.timeout',
  ],
  [
    'dynamic_batching.priority_queue_policy',
    'queues are bounded by the service; remove it, and set spec.predictor.timeout',
  ],
  ['instance_group.secondary_devices', 'a model is computed on one device; remove it'],
  ['instance_group.profile', 'profiles belong to TensorRT; remove it'],
  ['instance_group.passive', 'every instance takes requests; remove it'],
  ['instance_group.host_policy', 'threads are not bound to nodes of memory; remove it'],
  [
    'instance_group.rate_limiter',
    'an instance that is free takes the next request; remove it, and bound the service by containerConcurrency',
  ],
]);

/** What to say of a field that the schema doesn't know. */
export function adviceFor(path: string): string {
  const advice = ADVICE.get(path);
  return advice === undefined
    ? `'${path}' is no field that is read here; remove it, or look for its spelling in docs/triton.md`
    : `'${path}' is not supported: ${advice}`;
}
