// Shows the contract of the mount that this page belongs to; every address is relative to the page.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#contract", deepLinking: true, validatorUrl: null });
