{{/* What the controller may do where services live: in all namespaces by ClusterRole, or in each of a list by Role. */}}
{{- define "pilotlight.serviceRules" -}}
# What users ask for.
- apiGroups: [serving.pilotlight.dev]
  resources: [inferenceservices, standbypools]
  verbs: [get, list, watch]
# What became of it; their spec is never written.
- apiGroups: [serving.pilotlight.dev]
  resources: [inferenceservices/status, standbypools/status]
  verbs: [patch]
# A namespace that has services and no pool gets the default one; it goes with the last service. It is applied,
# which takes create and patch.
- apiGroups: [serving.pilotlight.dev]
  resources: [standbypools]
  verbs: [create, patch, delete]
# Where the admission plugin OwnerReferencesPermissionEnforcement is on (OpenShift), whoever writes an owner
# reference with blockOwnerDeletion must be allowed this on the owner. Nothing else uses it.
- apiGroups: [serving.pilotlight.dev]
  resources: [inferenceservices/finalizers, standbypools/finalizers]
  verbs: [update]
# Standbys and replicas are pods of the controller's own. Patch: a standby that is claimed changes its labels
# and owner.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
# One Service for each InferenceService, and one for each tag of a revision.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
# Where those lead: activators or replicas.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch, create, patch, delete]
# OpenShift wants this of whoever writes addresses of the pod network into a slice. Nothing else uses it.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices/restricted]
  verbs: [create]
# The revisions of a service: numbered, the last few kept.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [list, create, patch, delete]
# While a service wants two replicas or more, a drain of nodes must leave all but one.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# What a service refers to by name: credentials of its storage, and the ServiceAccount that names them. No list,
# no watch: nothing is read that no manifest names.
- apiGroups: [""]
  resources: [secrets, configmaps, serviceaccounts]
  verbs: [get]
# Cold starts, decisions and troubles, told where `kubectl describe` shows them. Patch: the same again is a count.
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* What is of the cluster itself and takes a ClusterRole in any case. */}}
{{- define "pilotlight.clusterRules" -}}
# Replicas on a node that is cordoned or lost are made anew on another one.
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch]
# A namespace that is being deleted takes no new objects.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
# Who calls the controller's API: the token that an activator shows.
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
{{- end }}

{{/* What the controller may do in the namespace that it runs in. */}}
{{- define "pilotlight.platformRules" -}}
# Who leads. RBAC can't name an object that is yet to be created, hence two rules.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [pilotlight-controller]
  verbs: [get, update]
{{- if .Values.namespaces }}
# Where the activators are: their addresses go into the slices.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
{{- end }}
{{- end }}
