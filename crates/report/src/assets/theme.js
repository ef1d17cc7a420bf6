(function(){try{var t=localStorage.getItem("report-theme");
if(t==="light"||t==="dark")document.documentElement.dataset.theme=t}catch(e){}})();
