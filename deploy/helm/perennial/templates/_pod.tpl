{{- define "perennial.labels" -}}
app.kubernetes.io/name: perennial
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "perennial.name" -}}
{{- printf "%s-%s" .root.Release.Name .component | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "perennial.metadata" -}}
name: {{ include "perennial.name" . }}
labels:
  {{- include "perennial.labels" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "perennial.image" -}}
{{- $image := .root.Values.image -}}
{{- $image.prefix }}{{ .image }}:{{ .tag | default $image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- /* Variables of every process; `secrets` and `optional` are further keys of the Secret that it reads. */ -}}
{{- define "perennial.env" -}}
- {name: HOME, value: /data}
- {name: PERENNIAL_HOME, value: /data}
- {name: PERENNIAL_EMBEDDED, value: "false"}
- {name: PERENNIAL_MIGRATE_ON_START, value: "false"}
- {name: PERENNIAL_INFERENCE_URL, value: {{ include "perennial.inferenceUrls" .root | quote }}}
{{- range $name, $value := .root.Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- range concat (list "PERENNIAL_DATABASE_URL" "PERENNIAL_BROKER_URL") (.secrets | default list) }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $.root.Values.secret }}, key: {{ . }}}}
{{- end }}
{{- range concat (list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY") (.optional | default list) }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $.root.Values.secret }}, key: {{ . }}, optional: true}}
{{- end }}
{{- end }}

{{- define "perennial.inferenceUrls" -}}
{{- $name := include "perennial.name" (dict "root" . "component" "inference") -}}
{{- $urls := list -}}
{{- range $i := until (int .Values.inference.replicas) -}}
{{- $urls = append $urls (printf "http://%s-%d.%s:8751" $name $i $name) -}}
{{- end -}}
{{- join " " $urls -}}
{{- end }}

{{- define "perennial.pod" -}}
serviceAccountName: {{ .serviceAccount | default .root.Values.serviceAccount }}
automountServiceAccountToken: {{ not (empty .serviceAccount) }}
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .tolerations }}
tolerations: {{ toJson . }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "perennial.labels" . | fromYaml | toJson }}
volumes:
  - name: data
    emptyDir: {sizeLimit: {{ .root.Values.scratch }}}
  - name: tmp
    emptyDir: {sizeLimit: 1Gi}
{{- end }}

{{- define "perennial.container" -}}
image: {{ include "perennial.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: data, mountPath: /data}
  - {name: tmp, mountPath: /tmp}
{{- end }}

{{- /* The workers of the profile, by name, as JSON. With Kueue none of them takes the queue `gpu`. */ -}}
{{- define "perennial.workers" -}}
{{- $workers := dict -}}
{{- range $name, $worker := .Values.workers -}}
{{- $queues := $worker.queues -}}
{{- if $.Values.kueue.enabled -}}{{- $queues = without $queues "gpu" -}}{{- end -}}
{{- if and (eq $worker.profile $.Values.profile) $queues -}}
{{- $_ := set $workers $name (merge (dict "queues" $queues) $worker) -}}
{{- end -}}
{{- end -}}
{{- toJson $workers -}}
{{- end }}

{{- /* The pod of a worker, with its `args`. */ -}}
{{- define "perennial.worker" -}}
{{- $limits := .worker.resources.limits -}}
{{- if .worker.gpus }}{{ $limits = merge (dict "nvidia.com/gpu" .worker.gpus) $limits }}{{ end -}}
{{- $resources := dict -}}
{{- range $kind, $amounts := dict "requests" .worker.resources.requests "limits" $limits -}}
{{- $texts := dict -}}
{{- range $name, $amount := $amounts }}{{ $_ := set $texts $name (toString $amount) }}{{ end -}}
{{- $_ := set $resources $kind $texts -}}
{{- end -}}
{{- include "perennial.pod" . }}
  {{- if .worker.gpus }}
  - name: shm  # of NCCL's ranks
    emptyDir: {medium: Memory, sizeLimit: 1Gi}
  {{- end }}
# Longer than PERENNIAL_GRACE_SECONDS, so that the supervisor can finish after its child.
terminationGracePeriodSeconds: {{ add .root.Values.graceSeconds 30 }}
containers:
  - name: worker
    {{- include "perennial.container" . | nindent 4 }}
      {{- if .worker.gpus }}
      - {name: shm, mountPath: /dev/shm}
      {{- end }}
    args: {{ toJson .args }}
    env:
      {{- include "perennial.env" . | nindent 6 }}
      - {name: PERENNIAL_QUEUES, value: {{ toJson .worker.queues | quote }}}
      - {name: PERENNIAL_THREADS, value: {{ .worker.threads | quote }}}
      - {name: PERENNIAL_GRACE_SECONDS, value: {{ .root.Values.graceSeconds | quote }}}
      {{- if .worker.gpus }}
      - {name: PERENNIAL_DEVICE, value: cuda}
      - {name: PERENNIAL_RANKS, value: {{ .worker.gpus | quote }}}
      {{- end }}
    resources: {{ toJson $resources }}
{{- end }}
