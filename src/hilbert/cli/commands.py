"""Every command: where it is, what it is for, and examples of its use.

The one list from which the command line, its help, its completion and its reference page are made. A command's function
is named by import path and imported when the command runs.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Command(NamedTuple):
    """One command, e.g. `namespace create`."""

    path: str
    """Words as they are typed."""
    target: str
    """`MODULE:FUNCTION` below `hilbert.cli`."""
    help: str
    """First line: a sentence for lists. More may follow."""
    examples: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    """Other last words."""
    hidden: bool = False


class Noun(NamedTuple):
    """A group of commands, e.g. `namespace`."""

    name: str
    help: str
    aliases: tuple[str, ...] = ()


NOUNS: Final = (
    Noun("namespace", "Create, inspect and remove namespaces.", ("ns",)),
    Noun("store", "Functions that are ready to be deployed."),
    Noun("template", "Templates, which functions begin with and are built by."),
    Noun("template store", "Templates that can be pulled."),
    Noun("images", "The image store of this machine: what was built for the process runtime."),
    Noun("secret", "Secrets of a namespace.", ("secrets",)),
    Noun("config", "The platform's settings on this machine."),
    Noun("install", "Put the platform into a cluster."),
)

SECTIONS: Final[dict[str, tuple[Command, ...]]] = {
    "Platform on this machine": (
        Command(
            "up",
            "up:up",
            "Run the platform on this machine.\n\n"
            "In a folder with a stack file, its functions are built and deployed, on the gateway that is there or on one\n"
            "that is started in the background. Otherwise the platform runs in the foreground until Ctrl-C.",
            (
                "hilbert up",
                "hilbert up --watch",
                "hilbert up --detach --port 8081",
                "hilbert up --only-gateway --set log.level=debug",
            ),
        ),
        Command(
            "down",
            "up:down",
            "Stop the platform that runs on this machine, after the calls in flight.",
            ("hilbert down",),
        ),
        Command(
            "status",
            "status:status",
            "Show the gateway, its namespaces and how much is in them.",
            ("hilbert status", "hilbert status --output json"),
        ),
        Command(
            "doctor",
            "doctor:doctor",
            "Say what is wrong with this installation, a namespace or a function, and what to do.\n\n"
            "Exit status 1 if something is broken.",
            ("hilbert doctor", "hilbert doctor --namespace dev", "hilbert doctor nodeinfo -n dev --output json"),
        ),
        Command(
            "config show",
            "config:show",
            "Show every setting of the platform with where its value comes from.",
            ("hilbert config show", "hilbert config show --changed"),
        ),
        Command(
            "install kubernetes",
            "install:kubernetes",
            "Install the platform in a Kubernetes cluster, or bring it up to date.\n\n"
            "What is there and says the same is left alone, so that it can be run again.",
            (
                "hilbert install kubernetes --wait",
                "hilbert install kubernetes --dry-run > hilbert.yaml",
                "hilbert install kubernetes --no-cluster-role --namespaces dev-fn,prod-fn --image example.com/hilbert:1",
            ),
        ),
    ),
    "Access": (
        Command(
            "login",
            "login:login",
            "Check and save credentials for a gateway.",
            (
                "hilbert login --gateway https://functions.example.com --password-stdin < password.txt",
                "hilbert login --username admin",
            ),
        ),
        Command(
            "logout",
            "login:logout",
            "Forget the credentials for a gateway.",
            ("hilbert logout --gateway https://functions.example.com",),
        ),
    ),
    "Functions": (
        Command(
            "deploy",
            "deploy:deploy",
            "Deploy functions from a stack file or from flags.\n\n"
            "A function that is there is updated. Returns when the functions are ready, or says why they are not.",
            (
                "hilbert deploy -f stack.yaml",
                "hilbert deploy -f stack.yaml --namespace staging-fn --filter 'web-*'",
                "hilbert deploy --image functions/alpine:latest --name stronghash --fprocess sha512sum",
            ),
        ),
        Command(
            "invoke",
            "invoke:invoke",
            "Call a function with standard input as the body.\n\n"
            "The answer's body goes to standard output as it comes. Redirects are followed; a function that wants a token\n"
            "of the gateway's identity service gets one, if the gateway's own token is saved or given.",
            (
                "echo Hilbert | hilbert invoke figlet",
                "hilbert invoke env --namespace dev --method GET --query verbose=1 < /dev/null",
                "hilbert invoke resize --async -H 'X-Callback-Url: http://example.com/done' < photo.jpg",
                'hilbert invoke github --sign X-Hub-Signature-256 --key "$SECRET" < event.json',
            ),
        ),
        Command(
            "list",
            "functions:list_functions",
            "List the functions of a namespace, or of all.",
            ("hilbert list", "hilbert list -A", "hilbert list -n dev -v --sort invocations", "hilbert list -q"),
            ("ls",),
        ),
        Command(
            "describe",
            "functions:describe",
            "Show a function with its state, configuration and URLs.",
            ("hilbert describe figlet", "hilbert describe nodeinfo -n dev --output yaml"),
        ),
        Command(
            "remove",
            "functions:remove",
            "Remove a function, or all functions of a stack file.",
            ("hilbert remove figlet", "hilbert remove nodeinfo -n dev", "hilbert remove -f stack.yaml"),
            ("rm", "delete"),
        ),
        Command(
            "scale",
            "functions:scale",
            "Set the number of a function's replicas; 0 stops it until its next call.",
            ("hilbert scale figlet 3", "hilbert scale nodeinfo 0 -n dev"),
        ),
        Command(
            "logs",
            "logs:logs",
            "Show what a function writes, as it comes.",
            ("hilbert logs figlet", "hilbert logs figlet --tail=false --since 10m", "hilbert logs figlet -o json"),
        ),
        Command(
            "ready",
            "ready:ready",
            "Wait until the gateway, or a function, is ready.",
            ("hilbert ready", "hilbert ready figlet -n dev --attempts 10 --interval 500ms"),
        ),
    ),
    "From source to function": (
        Command(
            "new",
            "new:new",
            "Begin a function: a folder with a handler, and an entry in the stack file.\n\n"
            "A stack file that is there gets one function more; every other line of it stays as it is.",
            (
                "hilbert new hello --lang python3-http",
                "hilbert new web --lang node22 --prefix registry.example.com/team --memory-limit 128Mi",
                "hilbert new --list",
            ),
        ),
        Command(
            "build",
            "build:build",
            "Build a stack file's functions: bundles for the process runtime, container images for other providers.\n\n"
            "Which of the two follows from the gateway's provider; --bundle and --image-build decide it.",
            (
                "hilbert build",
                "hilbert build --filter 'web-*' --parallel 4 --build-arg ALLOW_BUILD_SCRIPTS=true",
                "hilbert build --image-build --tag sha --builder buildah",
                "hilbert build --shrinkwrap",
            ),
        ),
        Command(
            "push",
            "build:push",
            "Push the container images of a stack file.",
            ("hilbert push", "hilbert push --tag sha --parallel 4"),
        ),
        Command(
            "publish",
            "publish:publish",
            "Build container images, for several platforms if wanted, and push them.\n\n"
            "With --remote-builder, an OpenFaaS Function Builder does both.",
            (
                "hilbert publish --platforms linux/amd64,linux/arm64",
                "hilbert publish --tag describe --extra-tag latest",
                "hilbert publish --remote-builder http://127.0.0.1:8081 --payload-secret payload.txt",
            ),
        ),
        Command(
            "local-run",
            "local_run:local_run",
            "Build one function and run it here, without a gateway, until Ctrl-C.\n\n"
            "It runs as the platform of this machine would run it, in the same sandbox. Secrets are read from ./.secrets.",
            (
                "hilbert local-run",
                "hilbert local-run hello --port 8085 --watch",
                "hilbert local-run hello --env LEVEL=debug",
                "hilbert local-run hello --print",
            ),
        ),
        Command(
            "template list",
            "template:list_templates",
            "List the templates that are here: the project's and those that ship with Hilbert.",
            ("hilbert template list",),
            ("ls",),
        ),
        Command(
            "template pull",
            "template:pull",
            "Pull templates into ./template from git or a folder.\n\n"
            "'stack' instead of a source pulls what 'configuration: templates:' of the stack file lists.",
            (
                "hilbert template pull https://example.com/templates.git#v1.2",
                "hilbert template pull ../our-templates",
                "hilbert template pull stack",
            ),
        ),
        Command(
            "template store list",
            "template:store_list",
            "List the templates of the template store.",
            ("hilbert template store list", "hilbert template store list --recommended --output json"),
            ("ls",),
        ),
        Command(
            "template store describe",
            "template:store_describe",
            "Show a template of the template store.",
            ("hilbert template store describe golang-middleware",),
        ),
        Command(
            "template store pull",
            "template:store_pull",
            "Pull a template of the template store; NAME@VERSION pins it.",
            ("hilbert template store pull golang-middleware", "hilbert template store pull golang-middleware@1.0.0"),
        ),
        Command(
            "images list",
            "images:list_images",
            "List the images that were built on this machine.",
            ("hilbert images list", "hilbert images list --output json"),
            ("ls",),
        ),
        Command(
            "images remove",
            "images:remove",
            "Forget images; 'images prune' then frees their space.",
            ("hilbert images remove hello:latest",),
            ("rm",),
        ),
        Command(
            "images prune",
            "images:prune",
            "Remove what no image needs any more, if it is older than an hour.",
            ("hilbert images prune", "hilbert images prune --older-than 0s"),
        ),
    ),
    "Function store": (
        Command(
            "store list",
            "store:list_store",
            "List the functions of the store.",
            ("hilbert store list", "hilbert store list --output json"),
            ("ls",),
        ),
        Command(
            "store inspect",
            "store:inspect",
            "Show a function of the store.",
            ("hilbert store inspect figlet",),
            ("describe",),
        ),
        Command(
            "store deploy",
            "store:deploy",
            "Deploy a function of the store.",
            ("hilbert store deploy figlet", "hilbert store deploy nodeinfo --namespace dev --name info"),
        ),
    ),
    "Namespaces": (
        Command(
            "namespaces",
            "namespace:list_names",
            "List namespaces; short for 'namespace list'.",
            ("hilbert namespaces",),
        ),
        Command("namespace list", "namespace:list_names", "List namespaces.", ("hilbert namespace list",), ("ls",)),
        Command(
            "namespace create",
            "namespace:create",
            "Create a namespace.",
            ("hilbert namespace create dev", "hilbert namespace create dev --annotation tenant=acme"),
        ),
        Command("namespace get", "namespace:get", "Show a namespace.", ("hilbert namespace get dev",)),
        Command(
            "namespace update",
            "namespace:update",
            "Replace the labels and annotations of a namespace.",
            ("hilbert namespace update dev --label tier=gold",),
        ),
        Command(
            "namespace delete",
            "namespace:delete",
            "Remove a namespace with everything in it.\n\n"
            "On Kubernetes, one that holds things that the platform did not make is refused with their names.",
            ("hilbert namespace delete staging-fn", "hilbert namespace delete staging-fn --force"),
            ("remove", "rm"),
        ),
    ),
    "Secrets": (
        Command(
            "secret create",
            "secret:create",
            "Create a secret.\n\nThe value comes from standard input, unless a flag says otherwise.",
            (
                "hilbert secret create api-key -n dev < api-key.txt",
                "hilbert secret create tls-cert --from-file cert.pem --replace",
            ),
        ),
        Command(
            "secret list",
            "secret:list_secrets",
            "List the names of secrets.",
            ("hilbert secret list -n dev",),
            ("ls",),
        ),
        Command(
            "secret update",
            "secret:update",
            "Replace a secret's value; functions see it within seconds.",
            ("hilbert secret generate | hilbert secret update api-key",),
            ("u",),
        ),
        Command(
            "secret remove",
            "secret:remove",
            "Remove a secret.",
            ("hilbert secret remove api-key -n dev",),
            ("rm", "delete"),
        ),
        Command(
            "secret apply",
            "secret:apply",
            "Create or update a secret for each file in ./.secrets.",
            ("hilbert secret apply -n dev",),
        ),
        Command(
            "secret generate",
            "secret:generate",
            "Write a random value.",
            ("hilbert secret generate", "hilbert secret generate --length 64 -o payload.txt"),
            ("gen",),
        ),
        Command(
            "secret keygen",
            "sealing:keygen",
            "Make a pair of keys for sealed secrets.",
            ("hilbert secret keygen -o key",),
        ),
        Command(
            "secret seal",
            "sealing:seal",
            "Encrypt values for the holder of a private key.",
            ("hilbert secret seal key.pub --from-file npm-token=token.txt",),
        ),
        Command(
            "secret unseal",
            "sealing:unseal",
            "Decrypt sealed values.",
            ("hilbert secret unseal key", "hilbert secret unseal key --key npm-token"),
        ),
    ),
    "Stack files": (
        Command(
            "diff",
            "diff:diff",
            "Show how what is deployed differs from the stack file.\n\nExit status 1 if something differs.",
            ("hilbert diff", "hilbert diff -f stack.yaml -n staging-fn --env local"),
        ),
        Command(
            "generate",
            "generate:generate",
            "Write functions as Kubernetes objects.",
            (
                "hilbert generate -f stack.yaml | kubectl apply -f -",
                "hilbert generate --from-store nodeinfo -n dev",
                "hilbert generate --api serving.knative.dev/v1 | kubectl apply -f -",
            ),
        ),
    ),
    "Other": (
        Command(
            "registry-login",
            "registry:registry_login",
            "Write a registry's credentials to ./credentials/config.json.",
            ("hilbert registry-login --server registry.example.com --username me --password-stdin < password.txt",),
        ),
        Command(
            "version",
            "version:version",
            "Show the versions of the command line, the gateway and the provider.",
            ("hilbert version", "hilbert version --short-version"),
        ),
        Command(
            "completion",
            "completion:completion",
            "Write a script that completes commands and flags.",
            ("source <(hilbert completion bash)", "hilbert completion fish | source"),
        ),
    ),
}


def all_commands() -> tuple[Command, ...]:
    """In the order of the help page."""
    return tuple(command for section in SECTIONS.values() for command in section)
