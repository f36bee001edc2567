// Identity Sweep's button: sets the best value on the node that it belongs to.
import { app } from "../../scripts/app.js";
import { use } from "./act.js";

const SWEEP = "InfuseNet_Sweep";
const NAME = "Use the best value";
const found = new WeakMap(); // node -> what its last result sets

function say(detail) {
    app.extensionManager?.toast?.add?.({ severity: "info", summary: "Identity Sweep", detail, life: 6000 });
}

function act(node) {
    const changes = found.get(node);
    if (!changes) return say("There is no best value yet. Queue the sweep first.");
    return say(changes.length ? use(node, changes) : "No best value can be set from here. See the text on the node.");
}

app.registerExtension({
    name: "InfuseNet.Sweep",
    nodeCreated(node) {
        if (node.comfyClass !== SWEEP) return;
        const button = node.addWidget("button", NAME, null, () => act(node), { serialize: false });
        button.serialize = false;
        const executed = node.onExecuted;
        node.onExecuted = function (output) {
            found.set(node, output?.use ?? []);
            return executed?.apply(this, arguments);
        };
    },
});
