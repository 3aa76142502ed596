{{/* Labels of every object. */}}
{{- define "pilotlight.labels" -}}
app.kubernetes.io/name: pilotlight
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end }}

{{/* What selects the pods of a component. The controller finds the activators by the same two labels. Takes the component's name. */}}
{{- define "pilotlight.selector" -}}
app.kubernetes.io/name: pilotlight
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* Labels of a component's pods; its own win over those of the values. Takes {component, settings, root}. */}}
{{- define "pilotlight.podLabels" -}}
{{- $own := include "pilotlight.selector" .component | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/instance" .root.Release.Name }}
{{- $_ := set $own "app.kubernetes.io/version" .root.Chart.AppVersion }}
{{- merge $own .settings.podLabels | toYaml }}
{{- end }}

{{/* What selects the pods that the controller writes: standbys and replicas. */}}
{{- define "pilotlight.replicaSelector" -}}
app.kubernetes.io/managed-by: pilotlight
app.kubernetes.io/component: replica
{{- end }}

{{/* An image as a pod names it. Takes {image, chart}. Nodes would hold different versions under the tag "latest". */}}
{{- define "pilotlight.image" -}}
{{- if eq .image.tag "latest" -}}
{{ fail (printf "the tag of image %s: expected a fixed version, got \"latest\"; name a version, or a digest" .image.repository) }}
{{- end -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Cluster-scoped names carry the namespace, so that releases in several namespaces don't meet. */}}
{{- define "pilotlight.controllerClusterName" -}}
pilotlight:{{ .Release.Namespace }}:controller
{{- end }}

{{/* Where activators and runtimes reach the controller. */}}
{{- define "pilotlight.controlUrl" -}}
https://pilotlight-controller.{{ .Release.Namespace }}.svc:8443
{{- end }}

{{/* Secret with admin.key and token-secret. */}}
{{- define "pilotlight.keysSecret" -}}
{{ .Values.keys.existingSecret | default "pilotlight-keys" }}
{{- end }}

{{/* Secret of somebody else with tls.crt, tls.key and ca.crt; empty when the chart makes them. */}}
{{- define "pilotlight.foreignTlsSecret" -}}
{{ .Values.tls.existingSecret | default .Values.keys.existingSecret }}
{{- end }}

{{/* The controller's config.yaml. */}}
{{- define "pilotlight.config" -}}
{{- with .Values.domain }}
domain: {{ . | quote }}
{{- end }}
clusterDomain: {{ .Values.clusterDomain | quote }}
namespaces: {{ .Values.namespaces | toJson }}
controlUrl: {{ include "pilotlight.controlUrl" . | quote }}
runtimeImage: {{ include "pilotlight.image" (dict "image" .Values.images.runtime "chart" .Chart) | quote }}
imagePullPolicy: {{ .Values.images.runtime.pullPolicy }}
imagePullSecrets: {{ .Values.images.pullSecrets | toJson }}
defaultPool:
  size: {{ .Values.defaultPool.size }}
  resources: {{ .Values.defaultPool.resources | toJson }}
runtimeResources: {{ .Values.runtime.resources | toJson }}
cacheSizeLimit: {{ .Values.runtime.cacheSizeLimit | quote }}
allowCache: {{ .Values.runtime.allowCache | toJson }}
allowTransforms: {{ .Values.runtime.allowTransforms | toJson }}
activatorsPerService: {{ .Values.activatorsPerService }}
quarantine: {{ .Values.quarantine | quote }}
directMode: {{ .Values.directMode }}
tritonMetrics: {{ .Values.runtime.tritonMetrics }}
{{- end }}

{{/* Where pods of a component go. Takes {component, settings}. */}}
{{- define "pilotlight.placement" -}}
{{- with .settings.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .settings.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- $component := .component }}
affinity:
{{- if .settings.affinity }}
  {{- toYaml .settings.affinity | nindent 2 }}
{{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      # Zones are spread over so, and not below: a node that lacks one of the labels named there, as one without a
      # zone does, takes no part in any of that.
      - weight: 100
        podAffinityTerm:
          topologyKey: topology.kubernetes.io/zone
          labelSelector:
            matchLabels: {{- include "pilotlight.selector" $component | nindent 14 }}
          # Pods of the version that is being replaced don't count.
          matchLabelKeys: [pod-template-hash]
{{- end }}
topologySpreadConstraints:
{{- if .settings.topologySpreadConstraints }}
  {{- toYaml .settings.topologySpreadConstraints | nindent 2 }}
{{- else }}
  # ScheduleAnyway: a cluster of one node runs all of them there.
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "pilotlight.selector" $component | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}

{{/* The Pod Security level "restricted". No user is named: the image has its own, OpenShift gives one per namespace. */}}
{{- define "pilotlight.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "pilotlight.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Health of a component, on the port that its metrics are on. */}}
{{- define "pilotlight.probes" -}}
# A start takes a second; on a crowded node it may take many.
startupProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: metrics
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end }}
