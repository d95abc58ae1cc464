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
serviceAccountName: {{ .root.Values.serviceAccount }}
automountServiceAccountToken: false
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
